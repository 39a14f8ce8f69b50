# Removes one extra disk's file, and its folder with the last one.
ds=$1 dir=$1/$2 uuid=$3 attempt=$4 file=$5 id=$6
turn "$uuid"
mounted "$ds"
if there "$dir"; then
	ours "$dir" "$uuid" || fail $FOREIGN "$dir is not this VM's"
	if there "$dir/$file"; then
		mine "$dir" "$file" "$id" || fail $FOREIGN "$dir/$file is not this disk's"
		rm -f -- "$dir/$file"
	fi
	others "$dir" "$file" "$id"
	for left in "$dir/.$file.id" "$dir/.$file."????????.part "$dir/.$file."????????.mark; do
		if there "$left"; then rm -f -- "$left"; fi
	done
	sync -- "$dir"
	tidy "$dir" "$uuid" "$attempt"
fi
if [ -d "$(dirname -- "$dir")" ]; then sweep "$(dirname -- "$dir")" "$uuid"; fi
