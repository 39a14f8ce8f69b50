# Prints an image's bytes from an offset on.
path=$1/$2/$3
mounted "$1"
[ -f "$path" ] || fail $NOTHING "there is no $path"
exec tail -c "+$(($4 + 1))" -- "$path"
