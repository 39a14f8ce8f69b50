# Copies into the disk of a VM that is off what it has of the files between it
# and another one, or of all. The guest would see no difference at any moment:
# the header changes last, and until then the disk stands on what it stood on.
ds=$1 dir=$1/$2 uuid=$3 file=$4 onto=$5 format=$6 bps=$7
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; fi' EXIT
turn "$uuid"
mounted "$ds"
if ! ours "$dir" "$uuid"; then fail $NOTHING "$dir is not this VM's"; fi
[ -f "$dir/$file" ] || fail $NOTHING "there is no $dir/$file"
path=$(printf '%s' "$dir/$file" | sed 's/,/,,/g') # a comma would end it in QEMU's language
if [ -n "$onto" ]; then set -- -b "$onto" -F "$format"; else set -- -b ''; fi
qemu-img rebase -q --object "throttle-group,id=slow,x-bps-write=$bps" --image-opts "$@" \
	"driver=qcow2,file.driver=throttle,file.throttle-group=slow,file.file.driver=file,file.file.filename=$path" >&2
sync -- "$dir/$file"
