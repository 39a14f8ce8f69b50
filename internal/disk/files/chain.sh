# Prints what qemu-img says of a VM's disk and of all that it stands on.
ds=$1 identity=$2 uuid=$3 file=$4
mounted "$ds"
if ! ours "$ds/vm_images/$identity" "$uuid"; then fail $NOTHING "$ds/vm_images/$identity is not this VM's"; fi
[ -f "$ds/vm_images/$identity/$file" ] || fail $NOTHING "there is no $ds/vm_images/$identity/$file"
exec prlimit --as=2147483648 --core=0 timeout -k 1 60 qemu-img info -U --backing-chain --output=json -f qcow2 -- "$ds/vm_images/$identity/$file"
