# Removes an overlay that nobody uses any more; the base's file is the VM's disk
# again.
ds=$1 identity=$2 uuid=$3 base=$4 file=$5 overlay=$6
dir=$ds/vm_images/$identity
from=$ds/vm_bases/$base/base.qcow2
turn "$uuid"
mounted "$ds"
if ! ours "$dir" "$uuid"; then exit 0; fi
if there "$from"; then
	chmod 0600 -- "$from"
	if ! there "$dir/$file"; then ln -- "$from" "$dir/$file"; fi
fi
[ -f "$dir/$file" ] || fail $NOTHING "there is no $dir/$file"
rm -f -- "$dir/.$overlay.part" "$dir/$overlay"
sync -- "$dir"
