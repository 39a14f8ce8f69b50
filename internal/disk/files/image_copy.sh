# Writes a flat copy of a disk that nobody writes to. Prints the progress as
# qemu-img does.
ds=$1 dir=$1/$2 file=$3 from=$4
part=$dir/.$file.flatcopy.part
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -f -- "$part"; fi' EXIT
turn "$5"
mounted "$ds"
[ -f "$from" ] || fail $NOTHING "there is no $from"
qemu-img convert -p -f qcow2 -O qcow2 -- "$from" "$part"
