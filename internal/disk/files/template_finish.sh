# Checks the temporary file's inner structure and gives it its name.
ds=$1 file=$2 attempt=$3 format=$4
dir=$ds/vm_templates
part=$dir/.$file.$attempt.part
mounted "$ds"
[ -f "$part" ] || fail $OVERTAKEN "a younger attempt for $file has taken over"
if [ "$format" = qcow2 ]; then
	rc=0
	words=$(prlimit --as=4294967296 --core=0 qemu-img check -q -f qcow2 -- "$part" 2>&1) || rc=$?
	# 3: clusters nobody uses, which harms nobody.
	if [ $rc -ne 0 ] && [ $rc -ne 3 ]; then fail $BAD_IMAGE "$words"; fi
fi
chmod 0444 -- "$part"
sync -- "$part"
if move "$part" "$dir/$file"; then exit 0; fi
rm -f -- "$part"
fail $FOREIGN "$dir/$file exists already"
