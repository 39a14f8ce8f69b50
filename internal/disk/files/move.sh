# Moves a VM's folder between two areas of one datastore.
ds=$1 from=$2 to=$3 uuid=$4
turn "$uuid"
mounted "$ds"
areas "$ds"
if ours "$ds/$to" "$uuid"; then
	if ours "$ds/$from" "$uuid"; then fail $FOREIGN "$ds/$from and $ds/$to are both this VM's"; fi
	exit 0
fi
if there "$ds/$to"; then fail $FOREIGN "$ds/$to exists and is not this VM's"; fi
if ! there "$ds/$from"; then fail $NOTHING "there is neither $ds/$from nor $ds/$to"; fi
if ! ours "$ds/$from" "$uuid"; then fail $FOREIGN "$ds/$from is not this VM's"; fi
case $to in vm_deleted/*) for disk in "$ds/$from"/*.qcow2; do idle "$disk"; done ;; esac
move "$ds/$from" "$ds/$to" || fail $OVERTAKEN "$ds/$from could not be moved to $ds/$to"
