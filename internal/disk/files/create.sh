# Makes a VM's folder under a temporary name and renames it when it is whole.
ds=$1 identity=$2 uuid=$3 attempt=$4 template=$5 format=$6 bytes=$7 full=$8 seeded=$9
images=$ds/vm_images
final=$images/$identity
new=$images/.$uuid.$attempt.new

trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then cat >/dev/null; room "$ds"; rm -rf -- "$new"; fi' EXIT

turn "$uuid"
mounted "$ds"
areas "$ds"
sweep "$images" "$uuid"
if ours "$final" "$uuid"; then
	cat >/dev/null
	exit 0
fi
if there "$final"; then fail $FOREIGN "$final exists and is not this VM's"; fi
[ -f "$template" ] || fail $NO_TEMPLATE "there is no $template"

# vanished tells a failure of the work from a younger attempt that took over.
vanished() {
	if ours "$final" "$uuid"; then
		rm -rf -- "$new"
		exit 0
	fi
	[ -d "$new" ] || fail $OVERTAKEN "a younger attempt for $uuid has taken over"
	exit 1
}

mkdir -m 0711 -- "$new"
disk=$new/$identity.qcow2
printf '%s\n' "$uuid" >"$new/.baadal" || vanished
if [ "$seeded" = yes ]; then cat >"$new/$identity-seed.iso" || vanished; fi
if [ "$full" = yes ]; then
	qemu-img convert -q -f "$format" -O qcow2 -- "$template" "$disk" || vanished
else
	# The backing file is named by its absolute path: a datastore is mounted at
	# the same path everywhere, and the path stays right when the folder moves
	# to vm_deleted or the template lies on another datastore.
	qemu-img create -q -f qcow2 -b "$template" -F "$format" -- "$disk" >&2 || vanished
fi
# resize refuses to shrink, create with a size would cut the template off.
qemu-img resize -q -f qcow2 -- "$disk" "$bytes" >&2 || vanished
sync -- "$disk" "$new/.baadal" || vanished
if [ "$seeded" = yes ]; then sync -- "$new/$identity-seed.iso" || vanished; fi
sync -- "$new" || vanished

if move "$new" "$final"; then exit 0; fi
if ours "$final" "$uuid"; then
	rm -rf -- "$new"
	exit 0
fi
if there "$final"; then fail $FOREIGN "$final exists and is not this VM's"; fi
fail $OVERTAKEN "$new could not be renamed to $final"
