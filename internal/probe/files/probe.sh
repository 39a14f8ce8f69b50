# Looks at a host. Arguments: libvirt's socket, the libvirt network of VMs, the
# datastores' paths. Prints three NUL-terminated fields for each thing looked at:
# its name, the exit code of looking, what was seen. Nothing here may hang.
set -u
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"
socket=$1 network=$2
shift 2

part() { # name command...
	name=$1
	shift
	rc=0
	out=$("$@" 2>&1) || rc=$?
	printf '%s\0%s\0%s\0' "$name" "$rc" "$out"
}

model() { sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1; }
memory() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
in_guest() { grep -q '^flags.* hypervisor' /proc/cpuinfo; }

# The server's end of our own connection is the management address.
management() {
	set -- ${SSH_CONNECTION:-}
	address=${3:-}
	address=${address%%%*}
	[ -n "$address" ] || return 1
	device=$(ip -o addr show to "$address" | sed -n 's/^[0-9]*: \([^ @]*\).*/\1/p' | head -n 1)
	[ -n "$device" ] || return 1
	printf '%s %s\n' "$device" "$(ip -o link show dev "$device" | sed -n 's/.*link\/ether \([^ ]*\).*/\1/p')"
}

# Whole disks when there is no lsblk: name and bytes.
sys_disks() {
	for disk in /sys/block/*; do
		[ -e "$disk/device" ] || continue
		[ "$(cat "$disk/removable")" = 0 ] || continue
		printf '%s %s\n' "${disk##*/}" "$(($(cat "$disk/size") * 512))"
	done
}

tools() {
	missing=
	for tool in qemu-img mountpoint prlimit timeout flock sha256sum du find xargs stat sync; do
		command -v "$tool" >/dev/null || missing="$missing $tool"
	done
	printf '%s\n' "${missing# }"
	[ -z "$missing" ]
}

# A hung mount must not hang us: 124 and 137 come from timeout.
store() {
	timeout -k 1 5 sh -c '
		mountpoint -q -- "$1" || exit 10
		words=$(touch -- "$1/.baadal-probe" 2>&1) || {
			printf "%s\n" "$words"
			exit 11
		}
		rm -f -- "$1/.baadal-probe"' sh "$1"
}

virsh_() { timeout -k 1 10 virsh -q -c qemu:///system "$@"; }
ovs() { timeout -k 1 10 ovs-vsctl --timeout=5 "$@"; }

part clock date +%s.%N
part hostname uname -n
part cpus getconf _NPROCESSORS_ONLN
part model model
part memory memory
part lsblk lsblk -J -b -d -o NAME,TYPE,SIZE,RM
part sys_disks sys_disks
part management management
part detect_virt systemd-detect-virt --vm
part in_guest in_guest
part socket test -S "$socket"
part bridges ovs list-br
part net_info virsh_ net-info "$network"
part net_xml virsh_ net-dumpxml "$network"
part tools tools
part chrony command -v chronyc
for path in "$@"; do part "store $path" store "$path"; done
part clock_end date +%s.%N
