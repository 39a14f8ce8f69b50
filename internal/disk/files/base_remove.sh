# Removes a base's folder if no disk names it. Only the headers of the disks are
# read: they may be in use.
ds=$1 base=$2 attempt=$3
into=$ds/vm_bases/$base
turn "$base"
mounted "$ds"
if there "$into/base.qcow2"; then
	for disk in "$ds"/vm_images/*/*.qcow2 "$ds"/vm_extra_disks/*/*/*.qcow2 "$ds"/vm_deleted/*/*.qcow2 "$ds"/vm_bases/*/base.qcow2; do
		if ! [ -f "$disk" ]; then continue; fi
		rc=0
		words=$(qemu-img info -U --output=json -f qcow2 -- "$disk" 2>&1) || rc=$?
		if [ $rc -ne 0 ]; then
			case $words in *'not in qcow2 format'*) continue ;; esac
			if ! [ -f "$disk" ]; then continue; fi
			fail 1 "$words" # what cannot be read may stand on it
		fi
		case $words in
		*"\"$into/base.qcow2\""*)
			# Its own name comes first, as "filename".
			if ! [ "$disk" -ef "$into/base.qcow2" ]; then fail $IN_USE "$disk stands on it"; fi
			;;
		esac
	done
fi
if ours "$into" "$base"; then
	discard "$into" "$base" "$attempt"
elif there "$into"; then
	fail $FOREIGN "$into is not this base's"
fi
sweep "$ds/vm_bases" "$base"
