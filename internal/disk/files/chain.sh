# Prints what qemu-img says of a VM's disk and of all that it stands on.
ds=$1 dir=$1/$2 uuid=$3 file=$4
mounted "$ds"
if ! ours "$dir" "$uuid"; then fail $NOTHING "$dir is not this VM's"; fi
[ -f "$dir/$file" ] || fail $NOTHING "there is no $dir/$file"
exec prlimit --as=2147483648 --core=0 timeout -k 1 60 qemu-img info -U --backing-chain --output=json -f qcow2 -- "$dir/$file"
