# Prints the file of ours, nothing if there is none, and fails if the server that
# is to read it does not run.
[ ! -e "$file" ] || cat -- "$file"
running "$@" || fail $STOPPED "it does not run, or does not answer"
