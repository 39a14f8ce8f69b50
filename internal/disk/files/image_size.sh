# Prints what qemu-img says of a disk's file, which QEMU may have open; with a
# number of bytes, makes it larger first.
ds=$1 dir=$1/$2 uuid=$3 file=$4 bytes=$5
mounted "$ds"
ours "$dir" "$uuid" || fail $FOREIGN "$dir is not this VM's"
[ -f "$dir/$file" ] || fail $NOTHING "there is no $dir/$file"
if [ "$bytes" -gt 0 ]; then
	turn "$uuid"
	# Without --shrink it refuses to make a disk smaller.
	qemu-img resize -q -f qcow2 -- "$dir/$file" "$bytes" >&2 || { room "$ds"; exit 1; }
	sync -- "$dir/$file"
fi
exec prlimit --as=2147483648 --cpu=60 --core=0 timeout -k 1 120 qemu-img info -U --output=json -f qcow2 -- "$dir/$file"
