# Asks once who has each of the addresses on stdin that lie on a network of this
# machine, 64 at a time, and prints whom it knows then: address, MAC and state.
# What is this machine's own is printed likewise. A ping is what makes the kernel
# ask; whether it is answered does not matter.
set -eu
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"
n=0
while read -r address; do
	case $(ip -4 -o route get "$address" 2>/dev/null) in
	"" | *" via "* | broadcast*) continue ;;
	local*)
		# shellcheck disable=SC2046
		set -- $(ip -4 -o addr show to "$address")
		[ $# -lt 2 ] || ip -o link show dev "$2" | sed -n "s,.*link/ether \([^ ]*\).*,$address dev $2 lladdr \1 PERMANENT,p"
		continue
		;;
	esac
	ip -4 neigh flush to "$address" >/dev/null 2>&1 || : # what it knew is from before
	ping -n -q -c 1 -W 1 "$address" >/dev/null 2>&1 </dev/null &
	n=$((n + 1))
	if [ $((n % 64)) = 0 ]; then wait; fi
done
wait
ip -4 -o neigh show nud reachable nud delay nud probe
