# Prints an image file's length and its first 64 KiB.
[ -f "$2" ] || fail $NOTHING "there is no $2"
stat -L -c %s -- "$2"
head -c 65536 -- "$2"
