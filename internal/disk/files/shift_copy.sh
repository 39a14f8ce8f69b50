# Copies the file of a disk that nobody uses to another datastore under a
# temporary name, compares the two, and gives the copy its name. Its progress is
# what qemu-img prints. QEMU's locks refuse a disk that somebody writes to.
ds=$1 dir=$1/$2 uuid=$3 attempt=$4 file=$5 id=$6 from=$7 old=$7/$8 whole=$9 rate=${10}
part=$dir/.$file.$attempt.part
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -f -- "$part"; fi' EXIT
turn "$uuid"
mounted "$ds"
mounted "$from"
ours "$old" "$uuid" || fail $NOTHING "$old is not this VM's"
[ -f "$old/$file" ] || fail $NOTHING "there is no $old/$file"
theirs "$old" "$file" "$id" || fail $FOREIGN "$old/$file is not this disk's"
ours "$dir" "$uuid" || fail $NOTHING "$dir is not this VM's"
theirs "$dir" "$file" "$id" || fail $FOREIGN "$dir/$file is not this disk's"
leftover "$dir" "$file"
rm -f -- "$dir/$file"
# A disk with snapshots is copied as the bytes that its file consists of, which
# keeps them and what they stand on; any other one becomes flat.
format=qcow2
if [ "$whole" = yes ]; then format=raw; fi
set --
if [ "$rate" -gt 0 ]; then set -- -r "$rate"; fi
qemu-img convert -p -f "$format" -O "$format" "$@" -- "$old/$file" "$part"
qemu-img compare -q -f "$format" -F "$format" -- "$old/$file" "$part" >&2 || fail $DIFFERS "$part is not like $old/$file"
sync -- "$part"
mv -fT -- "$part" "$dir/$file"
sync -- "$dir"
