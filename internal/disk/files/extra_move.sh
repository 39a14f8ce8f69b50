# Moves one extra disk's file between two folders of its VM.
ds=$1 from=$1/$2 to=$1/$3 uuid=$4 attempt=$5 file=$6 id=$7
turn "$uuid"
mounted "$ds"
areas "$ds"
if there "$from"; then ours "$from" "$uuid" || fail $FOREIGN "$from is not this VM's"; fi
if there "$to/$file"; then
	ours "$to" "$uuid" && mine "$to" "$file" "$id" || fail $FOREIGN "$to/$file exists and is not this disk's"
	if there "$from/$file"; then fail $FOREIGN "$from/$file and $to/$file are both there"; fi
	rm -f -- "$from/.$file.id"
elif there "$from/$file"; then
	mine "$from" "$file" "$id" || fail $FOREIGN "$from/$file is not this disk's"
	case $3 in vm_deleted/*) idle "$from/$file" ;; esac
	folder "$to" "$uuid" "$attempt"
	carry "$from" "$to" "$file" "$id" "$attempt"
else
	fail $NOTHING "$file is neither in $from nor in $to"
fi
if ours "$from" "$uuid"; then others "$from" "$file" "$id"; fi
tidy "$from" "$uuid" "$attempt"
for parent in "$(dirname -- "$from")" "$(dirname -- "$to")"; do
	if [ -d "$parent" ]; then sweep "$parent" "$uuid"; fi
done
