# Removes a backup, whole or not, unless another one stands on it.
ds=$1 uuid=$2 attempt=$3
into=$ds/vm_backups
turn "$uuid"
mounted "$ds"
if ours "$into/$uuid" "$uuid"; then
	if grep -qs "\"stands_on\": \"$uuid\"" "$into"/*/backup.json; then fail $IN_USE "an increment stands on $into/$uuid"; fi
	move "$into/$uuid" "$into/.$uuid.$attempt.gone" || fail $OVERTAKEN "$into/$uuid could not be taken away"
elif there "$into/$uuid"; then
	fail $FOREIGN "$into/$uuid is not this backup's"
fi
# A network file system keeps the folder of a file that somebody still reads.
rest() {
	for left in "$into/.$uuid."*; do
		if there "$left"; then rm -rf -- "$left" 2>/dev/null || return 1; fi
	done
}
tries=0
until rest; do
	tries=$((tries + 1))
	[ $tries -lt 5 ] || fail $OVERTAKEN "a file of the backup $uuid is still open somewhere"
	sleep 1
done
