# Removes an image and what unfinished copies of it left.
ds=$1 area=$2 file=$3
mounted "$ds"
if [ -d "$ds/$area/$file" ]; then fail $FOREIGN "$ds/$area/$file is a folder"; fi
for path in "$ds/$area/.$file."????????.part "$ds/$area/$file"; do
	if there "$path"; then rm -f -- "$path"; fi
done
