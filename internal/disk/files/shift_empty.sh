# Makes a disk's new file, empty, in place of what an earlier attempt left.
ds=$1 dir=$1/$2 uuid=$3 attempt=$4 file=$5 id=$6 bytes=$7
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -f -- "$dir/.$file.$attempt.part"; fi' EXIT
turn "$uuid"
mounted "$ds"
ours "$dir" "$uuid" || fail $NOTHING "$dir is not this VM's"
theirs "$dir" "$file" "$id" || fail $FOREIGN "$dir/$file is not this disk's"
leftover "$dir" "$file"
rm -f -- "$dir/$file"
qemu-img create -q -f qcow2 -- "$dir/.$file.$attempt.part" "$bytes" >&2
sync -- "$dir/.$file.$attempt.part"
mv -fT -- "$dir/.$file.$attempt.part" "$dir/$file"
sync -- "$dir"
