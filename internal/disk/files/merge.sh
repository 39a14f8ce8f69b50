# Writes back what a VM that is off wrote to its overlay, and gives the base its
# name in the VM's folder again.
ds=$1 dir=$1/$2 uuid=$3 base=$4 file=$5 overlay=$6 id=$7 attempt=$8
from=$ds/vm_bases/$base/base.qcow2
turn "$uuid"
mounted "$ds"
if ! there "$from"; then exit 0; fi
if ! ours "$dir" "$uuid"; then fail $NOTHING "$dir is not this VM's"; fi
chmod 0600 -- "$from"
if ! there "$dir/$file"; then
	ln -- "$from" "$dir/$file"
	if [ "$id" != 0 ]; then mark "$dir" "$file" "$id" "$attempt"; fi
	sync -- "$dir"
fi
if there "$dir/$overlay"; then qemu-img commit -q -f qcow2 -b "$from" -- "$dir/$overlay" >&2; fi
