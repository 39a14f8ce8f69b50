# Makes a flat copy of a file beside a disk.
ds=$1 dir=$1/$2 vm=$3 file=$4 tag=$5 from=$6
staged=$dir/.$file.$tag.staged
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -f -- "$staged.part"; fi' EXIT
turn "$vm"
mounted "$ds"
if ! ours "$dir" "$vm"; then fail $NOTHING "$dir is not this VM's"; fi
# Once the disk was put aside the copy is there, or in its place already.
if there "$staged" || there "$dir/.$file.$tag.aside"; then exit 0; fi
[ -f "$from" ] || fail $NOTHING "there is no $from"
rm -f -- "$staged.part"
qemu-img convert -p -f qcow2 -O qcow2 -- "$from" "$staged.part"
sync -- "$staged.part"
mv -nT -- "$staged.part" "$staged"
sync -- "$dir"
