# Copies the disk of a VM that is off into the folder of a base.
ds=$1 dir=$1/$2 uuid=$3 base=$4 file=$5
into=$ds/vm_bases/$base
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -f -- "$into/copy.part"; fi' EXIT
turn "$uuid"
mounted "$ds"
if ! ours "$dir" "$uuid"; then fail $NOTHING "$dir is not this VM's"; fi
if ! ours "$into" "$base"; then fail $NOTHING "there is no base $base"; fi
if there "$into/base.qcow2"; then exit 0; fi
rm -f -- "$into/copy.part"
qemu-img convert -q -f qcow2 -O qcow2 -- "$dir/$file" "$into/copy.part" >&2
