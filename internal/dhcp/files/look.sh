# Tells whether the server holds the file with the SHA-256 sum that is given: then
# it prints "same", and what seen prints. No file is written for it: a disk that is
# full is no hindrance. A server that does not run is started.
same() { [ ! -e "$file.old" ] && [ "$(sha256sum <"$file")" = "$given  -" ]; }

there
included
[ -e "$file.lock" ] && [ -e "$file" ] || exit 0
exec 9<"$file.lock"
flock -sn 9 || exit 0
same || exit 0
if ! known=$(seen "$@"); then
	flock -w 60 9 || fail $BUSY "a change has been under way for a minute"
	same || exit 0
	trap : HUP INT TERM
	running "$@" || start "$@"
	known=$(seen "$@") || fail $DOWN "$server does not answer"
fi
printf 'same\n%s\n' "$known"
