# Removes the bitmaps of our checkpoints from a disk that nobody uses.
ds=$1 dir=$1/$2 vm=$3 file=$4 prefix=$5
turn "$vm"
mounted "$ds"
if ! ours "$dir" "$vm" || [ ! -f "$dir/$file" ]; then exit 0; fi
idle "$dir/$file"
qemu-img info -f qcow2 -- "$dir/$file" | sed -n "s/^ *name: \($prefix[0-9a-f]*\)\$/\1/p" | while read -r name; do
	qemu-img bitmap --remove -f qcow2 -- "$dir/$file" "$name" >&2
done
sync -- "$dir/$file"
