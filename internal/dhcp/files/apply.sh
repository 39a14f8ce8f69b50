# Makes the DHCP server hold the file that comes on stdin; what is given is its
# last line.
#
# FILE.old is the journal: while it is there, it holds what the server last ran
# with, and FILE may be something that the server has not taken. It is made
# before FILE changes and removed after the restart, so that a run that was
# killed anywhere is finished or taken back by the next one. It is another name
# of what FILE was, and so is FILE after it was put back: neither takes room.

# What fails without a word of ours: a disk that is full, or cannot be written.
stopped() {
	rc=$?
	[ $rc -ne 0 ] && [ $rc -lt $BUSY ] || return 0
	[ -z "${locked-}" ] || rm -f -- "$file.new" "$file.old.new"
	echo "file system: $(df --output=target -- "$folder" | tail -n 1)" >&2
}
trap stopped EXIT

there

exec 9>"$file.lock"
flock -w 60 9 || fail $BUSY "another change has been under way for a minute"
locked=yes

included

cat >"$file.new"
if [ "$(tail -n 1 -- "$file.new")" != "$given" ]; then
	rm -f -- "$file.new"
	fail $CUT_OFF "the reservations did not come as a whole"
fi

unfinished=no
if [ -e "$file.old" ]; then unfinished=yes; fi
if [ $unfinished = no ] && cmp -s -- "$file.new" "$file"; then
	rm -f -- "$file.new" "$file.old.new"
	running "$@" || start "$@"
	loaded || fail $DOWN "$server does not answer"
	exit 0
fi

# From here on a polite request to end is not heard: it takes a second.
trap : HUP INT TERM

if [ $unfinished = no ]; then
	if [ ! -e "$file" ]; then
		printf %s "$nothing" >"$file.old.new"
	elif ! ln -fL -- "$file" "$file.old.new" 2>/dev/null; then
		cp -p -- "$file" "$file.old.new"
	fi
	mv -fT -- "$file.old.new" "$file.old"
fi
sync -- "$file.new"
mv -fT -- "$file.new" "$file"
sync -- "$folder"

put_back() {
	ln -f -- "$file.old" "$file.new" 2>/dev/null || cp -p -- "$file.old" "$file.new"
	mv -fT -- "$file.new" "$file"
	sync -- "$folder"
}

# If the power goes before this is on the disk, the next run loads once more.
settled() { rm -f -- "$file.old"; }

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
