# Makes the DHCP server hold the file that comes on stdin. Arguments: the file of
# ours, its last line, the server's main configuration, its control socket (may be
# empty), the number of words of the restart command, these words, the words of
# the command that tells whether the server runs (may be none).
#
# What differs between servers comes before this: server, nothing (the text of no
# reservations), check, included, running, load and loaded.
#
# FILE.old is the journal: while it is there, it holds what the server last ran
# with, and FILE may be something that the server has not taken. It is made
# before FILE changes and removed after the restart, so that a run that was
# killed anywhere is finished or taken back by the next one.
set -eu
umask 022
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"

BUSY=80 NO_MAIN=81 NO_INCLUDE=82 MAIN_BROKEN=83 REFUSED=84 RESTART_FAILED=85 DOWN=86 CUT_OFF=87 NO_SERVER=88

fail() { # code words...
	code=$1
	shift
	printf '%s\n' "$*" >&2
	exit "$code"
}

file=$1 last=$2 main=$3 socket=$4 restart_words=$5
shift 5
folder=$(dirname -- "$file")

# detached runs a command in a session of its own, so that it is not killed half
# way with us; the lock is then held until it has ended. The command itself gets
# neither the lock nor our output: a daemon that it starts would keep them.
detached() {
	rc=0
	setsid -w sh -c 'timeout 60 "$@" 9>&-' sh "$@" >"$file.log" 2>&1 </dev/null || rc=$?
	said=$(tail -n 20 -- "$file.log")
	rm -f -- "$file.log"
	return $rc
}

restart() {
	status_words=$(($# - restart_words))
	moved=0
	while [ $moved -lt "$restart_words" ]; do
		set -- "$@" "$1"
		shift
		moved=$((moved + 1))
	done
	shift $status_words
	detached "$@"
}

[ -d "$folder" ] || fail $NO_MAIN "there is no folder $folder"
[ -f "$main" ] || fail $NO_MAIN "there is no $main"
command -v $server >/dev/null || fail $NO_SERVER "there is no $server"

exec 9>"$file.lock"
flock -w 60 9 || fail $BUSY "another change has been under way for a minute"

included

cat >"$file.new"
if [ "$(tail -n 1 -- "$file.new")" != "$last" ]; then
	rm -f -- "$file.new"
	fail $CUT_OFF "the reservations did not come as a whole"
fi

unfinished=no
if [ -e "$file.old" ]; then unfinished=yes; fi
if [ $unfinished = no ] && cmp -s -- "$file.new" "$file"; then
	rm -f -- "$file.new"
	if ! running "$@"; then
		check || fail $MAIN_BROKEN "$said"
		load "$@" || fail $DOWN "$said"
	fi
	loaded || fail $DOWN "$server does not answer"
	exit 0
fi

# From here on a polite request to end is not heard: it takes a second.
trap : HUP INT TERM

if [ $unfinished = no ]; then
	if [ -e "$file" ]; then cp -p -- "$file" "$file.old.new"; else printf %s "$nothing" >"$file.old.new"; fi
	sync -- "$file.old.new"
	mv -fT -- "$file.old.new" "$file.old"
fi
sync -- "$file.new"
mv -fT -- "$file.new" "$file"
sync -- "$folder"

put_back() {
	cp -p -- "$file.old" "$file.new"
	sync -- "$file.new"
	mv -fT -- "$file.new" "$file"
	sync -- "$folder"
}

settled() {
	rm -f -- "$file.old"
	sync -- "$folder"
}

if ! check; then
	why=$said
	put_back
	# After an unfinished run nobody knows what the server holds.
	if check; then
		if [ $unfinished = yes ]; then load "$@" || fail $DOWN "$said"; fi
		settled
		fail $REFUSED "$why"
	fi
	[ $unfinished = yes ] || settled
	fail $MAIN_BROKEN "$said"
fi
if ! load "$@"; then
	why=$said
	put_back
	load "$@" || fail $DOWN "$why"
	settled
	fail $RESTART_FAILED "$why"
fi
settled
loaded || fail $DOWN "$server does not answer"
