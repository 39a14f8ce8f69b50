# Removes an image and what unfinished copies of it left.
ds=$1 dir=$1/$2 file=$3
mounted "$ds"
if [ -d "$dir/$file" ]; then fail $FOREIGN "$dir/$file is a folder"; fi
for path in "$dir/.$file."????????.part "$dir/$file"; do
	if there "$path"; then rm -f -- "$path"; fi
done
