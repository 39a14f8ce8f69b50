# Prints an image file's length, its SHA-256 and what qemu-img says of it. The format is
# given, never guessed: a guest could write another format's header into a raw
# image. Limits: parsers of images have had holes.
path=$1/vm_templates/$2 format=$3
mounted "$1"
[ -f "$path" ] || fail $NOTHING "there is no $path"
stat -c %s -- "$path"
sha256sum -b -- "$path" | sed 's/^\\//' | cut -c 1-64
exec prlimit --as=2147483648 --cpu=60 --core=0 timeout -k 1 120 qemu-img info --output=json -f "$format" -- "$path"
