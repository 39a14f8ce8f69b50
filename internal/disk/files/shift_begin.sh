# Makes a VM's folder on the datastore that a disk moves to, with the disk's mark
# or, for the first disk, with a copy of the VM's seed.
ds=$1 dir=$1/$2 uuid=$3 attempt=$4 file=$5 id=$6 seed=$7
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -rf -- "$(dirname -- "$dir")/.$uuid.$attempt.new"; fi' EXIT
turn "$uuid"
mounted "$ds"
areas "$ds"
folder "$dir" "$uuid" "$attempt"
leftover "$dir" "$file"
if [ "$id" != 0 ]; then
	if there "$dir/$file" && ! mine "$dir" "$file" "$id"; then fail $FOREIGN "$dir/$file exists and is not this disk's"; fi
	mark "$dir" "$file" "$id" "$attempt"
	exit 0
fi
name=${seed##*/}
leftover "$dir" "$name"
if [ -f "$seed" ]; then
	cp -- "$seed" "$dir/.$name.$attempt.part"
	sync -- "$dir/.$name.$attempt.part"
	mv -fT -- "$dir/.$name.$attempt.part" "$dir/$name"
	sync -- "$dir"
fi
