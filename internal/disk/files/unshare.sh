# Removes an overlay that nobody uses any more; the base's file is the VM's disk
# again.
ds=$1 dir=$1/$2 uuid=$3 base=$4 file=$5 overlay=$6 id=$7 attempt=$8
from=$ds/vm_bases/$base/base.qcow2
turn "$uuid"
mounted "$ds"
if ! ours "$dir" "$uuid"; then exit 0; fi
if there "$from"; then
	chmod 0600 -- "$from"
	if ! there "$dir/$file"; then ln -- "$from" "$dir/$file"; fi
	if [ "$id" != 0 ] && ! mine "$dir" "$file" "$id"; then mark "$dir" "$file" "$id" "$attempt"; fi
fi
[ -f "$dir/$file" ] || fail $NOTHING "there is no $dir/$file"
rm -f -- "$dir/.$overlay.part" "$dir/$overlay" "$dir/.$overlay.id"
sync -- "$dir"
