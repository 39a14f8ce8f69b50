# Makes an extra disk's file in the VM's folder of them: empty, or like a base.
ds=$1 dir=$1/$2 uuid=$3 attempt=$4 file=$5 id=$6 bytes=$7 from=$8 full=$9
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -rf -- "$dir/.$file.$attempt.part" "$(dirname -- "$dir")/.$uuid.$attempt.new"; tidy "$dir" "$uuid" "$attempt" || :; fi' EXIT
turn "$uuid"
mounted "$ds"
areas "$ds"
folder "$dir" "$uuid" "$attempt"
for left in "$dir/.$file."????????.part "$dir/.$file."????????.mark; do
	if there "$left"; then rm -f -- "$left"; fi
done
if there "$dir/$file"; then
	mine "$dir" "$file" "$id" || fail $FOREIGN "$dir/$file exists and is not this disk's"
	exit 0
fi
if [ -n "$from" ]; then [ -f "$from" ] || fail $NO_TEMPLATE "there is no $from"; fi
if [ -z "$from" ]; then
	qemu-img create -q -f qcow2 -- "$dir/.$file.$attempt.part" "$bytes" >&2
elif [ "$full" = yes ]; then
	qemu-img convert -q -f qcow2 -O qcow2 -- "$from" "$dir/.$file.$attempt.part" >&2
else
	qemu-img create -q -f qcow2 -b "$from" -F qcow2 -- "$dir/.$file.$attempt.part" >&2
fi
sync -- "$dir/.$file.$attempt.part"
mark "$dir" "$file" "$id" "$attempt"
move "$dir/.$file.$attempt.part" "$dir/$file" || fail $FOREIGN "$dir/$file exists and is not this disk's"
