# Removes the names that bases have in the folder of a VM whose disk stands on
# none of them any more. In a folder of extra disks only those of one disk.
ds=$1 dir=$1/$2 uuid=$3 file=$4 id=$5
turn "$uuid"
mounted "$ds"
if ! ours "$dir" "$uuid"; then fail $NOTHING "$dir is not this VM's"; fi
for name in "$dir"/*.qcow2; do
	other=${name##*/}
	if ! [ -f "$name" ] || [ "$other" = "$file" ]; then continue; fi
	if [ "$id" != 0 ] && ! mine "$dir" "$other" "$id"; then continue; fi
	for base in "$ds"/vm_bases/*/base.qcow2; do
		if [ "$name" -ef "$base" ]; then
			rm -f -- "$name" "$dir/.$other.id"
			break
		fi
	done
done
sync -- "$dir"
