# Reads a file of a backup. Prints how far it is now and then ("pos: N"), and
# its sum at the end.
ds=$1 uuid=$2 file=$3 bytes=$4 sum=$5
dir=$ds/vm_backups/$uuid
mounted "$ds"
if ! there "$dir"; then fail $DAMAGED "the folder vm_backups/$uuid is missing"; fi
if ! ours "$dir" "$uuid"; then fail $DAMAGED "the folder vm_backups/$uuid has lost its mark"; fi
[ -f "$dir/$file" ] || fail $DAMAGED "$file is missing"
have=$(stat -c %s -- "$dir/$file")
[ "$have" = "$bytes" ] || fail $DAMAGED "$file has $have bytes instead of $bytes"
exec 3<"$dir/$file"
# Who only watches must not hold the file: a network file system keeps what is open.
(
	trap 'exit 0' TERM
	while :; do
		sleep 1 >/dev/null 2>&1 &
		wait $!
		grep '^pos:' "/proc/$$/fdinfo/3" || exit 0
	done
) 3<&- &
watcher=$!
rc=0
seen=$(sha256sum <&3) || rc=$?
kill $watcher 2>/dev/null || :
wait $watcher || :
if [ $rc -ne 0 ]; then exit $rc; fi
[ "${seen%% *}" = "$sum" ] || fail $DAMAGED "$file is spoiled: its SHA-256 is another one"
rc=0
words=$(prlimit --as=4294967296 --core=0 qemu-img check -q -f qcow2 -- "$dir/$file" 2>&1) || rc=$?
if [ $rc -ne 0 ] && [ $rc -ne 3 ]; then fail $DAMAGED "$file: $words"; fi
