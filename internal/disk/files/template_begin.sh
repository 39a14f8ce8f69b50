# Clears what unfinished imports left. Prints "done" and the image's first
# 64 KiB if the template is there, else "free BYTES".
ds=$1 file=$2
mounted "$ds"
areas "$ds"
dir=$ds/vm_templates
for left in "$dir/.$file."????????.part; do
	if there "$left"; then rm -f -- "$left"; fi
done
if [ -f "$dir/$file" ]; then
	echo done
	head -c 65536 -- "$dir/$file"
elif there "$dir/$file"; then
	fail $FOREIGN "$dir/$file exists and is not a file"
else
	touch -- "$dir/.$file.writable.part"
	rm -f -- "$dir/.$file.writable.part"
	echo free $(df -B1 --output=avail -- "$ds" | tail -n 1)
fi
