# Makes a VM's disk a base, too: a second name of the same file, and an empty
# overlay on that name beside the disk. The disk itself is not touched.
ds=$1 dir=$1/$2 uuid=$3 base=$4 file=$5 overlay=$6 bytes=$7 id=$8 attempt=$9
into=$ds/vm_bases/$base
turn "$uuid"
mounted "$ds"
areas "$ds"
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; fi' EXIT
if ! ours "$dir" "$uuid"; then fail $NOTHING "$dir is not this VM's"; fi
basefolder "$ds" "$base" "$attempt"
if ! there "$into/base.qcow2"; then
	[ -f "$dir/$file" ] || fail $NOTHING "there is no $dir/$file"
	ln -- "$dir/$file" "$into/base.qcow2"
	sync -- "$into"
fi
if there "$dir/$overlay"; then exit 0; fi
# -u: the disk is in use and must not be opened for its size.
rm -f -- "$dir/.$overlay.part"
qemu-img create -q -f qcow2 -u -b "$into/base.qcow2" -F qcow2 -- "$dir/.$overlay.part" "$bytes" >&2
sync -- "$dir/.$overlay.part"
if [ "$id" != 0 ]; then mark "$dir" "$overlay" "$id" "$attempt"; fi
move "$dir/.$overlay.part" "$dir/$overlay" || fail $OVERTAKEN "$dir/$overlay could not be named"
