# Checks a finished copy, makes it read-only and gives it its name; prints its
# length, its SHA-256 and what qemu-img says of it. Done already is success.
ds=$1 dir=$1/$2 file=$3
path=$dir/$file
part=$dir/.$file.flatcopy.part
mounted "$ds"
if ! [ -f "$path" ]; then
	[ -f "$part" ] || fail $NOTHING "there is no $part"
	rc=0
	words=$(prlimit --as=4294967296 --core=0 qemu-img check -q -f qcow2 -- "$part" 2>&1) || rc=$?
	# 3: clusters nobody uses, which harms nobody.
	if [ $rc -ne 0 ] && [ $rc -ne 3 ]; then fail $BAD_IMAGE "$words"; fi
	chmod 0444 -- "$part"
	sync -- "$part"
	move "$part" "$path" || fail $OVERTAKEN "$part could not be named"
fi
stat -c %s -- "$path"
sha256sum -b -- "$path" | sed 's/^\\//' | cut -c 1-64
exec prlimit --as=2147483648 --cpu=60 --core=0 timeout -k 1 120 qemu-img info --output=json -f qcow2 -- "$path"
