# Prints what has to be known of the host beside its switch, a line each: "bridge
# NAME" for each libvirt network, "own NAME" for a device with an address of the
# host's own, and "below NAME" for one that such a device stands on.
set -eu
export PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"
below() {
	for lower in /sys/class/net/"$1"/lower_*; do
		[ -e "$lower" ] || continue
		echo "below ${lower##*/lower_}"
		below "${lower##*/lower_}"
	done
}
addresses=$(ip -o address show scope global)
printf '%s\n' "$addresses" | while read -r _ device _; do
	[ -n "$device" ] || continue
	echo "own $device"
	below "$device"
	# The other end of a pair, or what a VLAN is on: "7: mgmt@br0: <BROADCAST..."
	ip -o link show dev "$device" | sed -n 's/^[0-9]*: [^@: ]*@\([^: ]*\):.*/below \1/p'
done
timeout 5 virsh -r -q -c qemu:///system uri >/dev/null 2>&1 || exit 0 # the networks are asked for again
for network; do
	bridge=$(timeout 5 virsh -r -q -c qemu:///system net-dumpxml "$network" 2>/dev/null | sed -n "s/.*<bridge name='\([^']*\)'.*/\1/p" | head -n 1)
	[ -z "$bridge" ] || echo "bridge $bridge"
done
