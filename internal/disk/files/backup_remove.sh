# Removes a backup, whole or not, unless another one stands on it.
ds=$1 uuid=$2 attempt=$3
into=$ds/vm_backups
turn "$uuid"
mounted "$ds"
if ours "$into/$uuid" "$uuid"; then
	if grep -qs "\"stands_on\": \"$uuid\"" "$into"/*/backup.json; then fail $IN_USE "an increment stands on $into/$uuid"; fi
	discard "$into/$uuid" "$uuid" "$attempt"
elif there "$into/$uuid"; then
	fail $FOREIGN "$into/$uuid is not this backup's"
fi
if [ -d "$into" ]; then sweep "$into" "$uuid"; fi
