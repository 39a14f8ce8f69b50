# Makes the folders of many VMs at once, each whole or not at all. Standard input
# is an archive of them under their temporary names, with all small files in
# them, and of a folder with three lists, a line for each:
#   protos   path of a base, virtual size
#   disks    UUID of a VM, name of the disk, number of its proto from 1
#   folders  UUID of a VM, name of its folder
# The disks are copies of a few empty overlays, the protos. Prints the UUIDs of
# the VMs whose folders are there.
ds=$1 dir=$1/$2 base=$3 attempt=$4 any=$5
TAB=$(printf '\t')
lists=$dir/.$base.$attempt.lists
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then cat >/dev/null; room "$ds"; rm -rf -- "$lists" "$dir"/.*."$attempt".new; fi' EXIT
turn "$base"
mounted "$ds"
areas "$ds"
[ -d "$dir" ] || mkdir -p -m 0711 -- "$dir"
sweep "$dir" "$base"
if [ "$any" = no ]; then exit 0; fi
tar -x -m -f - --no-same-owner -C "$dir"
n=0
while IFS=$TAB read -r from bytes; do
	n=$((n + 1))
	[ -f "$from" ] || fail $NO_TEMPLATE "there is no $from"
	qemu-img create -q -f qcow2 -b "$from" -F qcow2 -- "$lists/$n" >&2
	qemu-img resize -q -f qcow2 -- "$lists/$n" "$bytes" >&2
done <"$lists/protos"
while IFS=$TAB read -r uuid name n; do
	cp -- "$lists/$n" "$dir/.$uuid.$attempt.new/$name"
done <"$lists/disks"
sync -- "$dir"/.*."$attempt".new/* "$dir"/.*."$attempt".new/.[!.]*
sync -- "$dir"/.*."$attempt".new
while IFS=$TAB read -r uuid name; do
	new=$dir/.$uuid.$attempt.new
	there "$dir/$name" || mv -nT -- "$new" "$dir/$name" || :
	sweep "$dir" "$uuid" # what it left to an earlier attempt, and its own if something is in the way
	if ours "$dir/$name" "$uuid"; then printf '%s\n' "$uuid"; fi
done <"$lists/folders"
rm -rf -- "$lists"
sync -- "$dir"
