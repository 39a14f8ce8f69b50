# Copies a disk that nobody writes to into the folder of a backup, flat.
ds=$1 uuid=$2 file=$3 folder=$4 vm=$5 disk=$6
part=$ds/vm_backups/.$uuid.part
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -f -- "$part/$file"; fi' EXIT
turn "$uuid"
mounted "$ds"
if ! ours "$part" "$uuid"; then fail $NOTHING "there is no $part"; fi
if ! ours "$folder" "$vm"; then fail $NOTHING "$folder is not this VM's"; fi
[ -f "$folder/$disk" ] || fail $NOTHING "there is no $folder/$disk"
rm -f -- "$part/$file"
qemu-img convert -p -f qcow2 -O qcow2 -- "$folder/$disk" "$part/$file"
