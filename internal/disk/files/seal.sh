# Makes a base read-only; takes the name away that it had in the folder of a VM
# that is off.
ds=$1 dir=$1/$2 uuid=$3 base=$4 file=$5 off=$6
turn "$uuid"
mounted "$ds"
if ! ours "$ds/vm_bases/$base" "$base"; then fail $NOTHING "there is no base $base"; fi
chmod 0444 -- "$ds/vm_bases/$base/base.qcow2"
if [ "$off" = yes ] && [ "$dir/$file" -ef "$ds/vm_bases/$base/base.qcow2" ]; then
	rm -f -- "$dir/$file" "$dir/.$file.id"
	sync -- "$dir"
fi
