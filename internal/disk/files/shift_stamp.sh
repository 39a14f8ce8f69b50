# Prints what is another after a file was written to.
ds=$1 dir=$1/$2 uuid=$3 file=$4
mounted "$ds"
ours "$dir" "$uuid" || fail $NOTHING "$dir is not this VM's"
[ -f "$dir/$file" ] || fail $NOTHING "there is no $dir/$file"
exec stat -c '%i %s %y' -- "$dir/$file"
