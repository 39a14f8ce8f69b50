# Makes the folders and removes what an unfinished copy left. Prints "done" if
# the image is there already.
ds=$1 dir=$1/$2 file=$3
mounted "$ds"
areas "$ds"
for left in "$dir/.$file."????????.part; do
	if there "$left"; then rm -f -- "$left"; fi
done
if [ -f "$dir/$file" ]; then echo done; fi
