# Removes a template's file and what unfinished imports left.
dir=$1/vm_templates file=$2
mounted "$1"
if [ -d "$dir/$file" ]; then fail $FOREIGN "$dir/$file is a folder"; fi
for path in "$dir/.$file."????????.part "$dir/$file"; do
	if there "$path"; then rm -f -- "$path"; fi
done
