# Looks at, changes or replaces the table of ours on the NAT box. Arguments: what
# to do (look, change, replace), the table's name, the last line of the input.
# The input is a file for nft, then a line "# routes", then lines for ip -batch,
# then the last line. It is kept in memory: a disk that is full keeps nothing from
# being done.
#
# After a look and a replacement, a mark of the table's chains is printed, then
# our routes. To list its rules would list all sets too, which takes long.
set -eu
umask 077
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"

BUSY=80 NO_NFT=81 REFUSED=82 NO_ROOM=83 CUT_OFF=84 ROUTES=85 NEEDED=86

fail() { # code words...
	code=$1
	shift
	printf '%s\n' "$*" >&2
	exit "$code"
}

act=$1 table=$2 last=$3 protocol=85

command -v nft >/dev/null || fail $NO_NFT "there is no nft"
command -v ip >/dev/null || fail $NO_NFT "there is no ip"

# orders prints what is for nft (0) or for ip (1).
orders() { printf '%s\n' "$all" | awk -v part="$1" 'BEGIN { now = 0 } /^# / { now = 1; next } now == part'; }

# needed prints the addresses without which the box is cut off: its next hops, and
# both ends of the connection through which it was told.
needed() {
	ip -4 route show table all | sed -n 's/.* via \([0-9.]*\).*/\1/p'
	printf '%s\n' "${SSH_CONNECTION:-}" | awk '{ print $1; print $3 }'
}

# stolen prints those of them that are to be the box's own from now on.
stolen() {
	{ needed; printf '%s\n' "$routes"; } | awk '
		function number(ip, p) { split(ip, p, "."); return ((p[1] * 256 + p[2]) * 256 + p[3]) * 256 + p[4] }
		/^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$/ { need[$1]; next }
		$2 == "replace" {
			split($4, block, "/")
			size = 2 ^ (32 - block[2])
			for (a in need) if (int(number(a) / size) == int(number(block[1]) / size)) print a
		}' | sort -u
}

if [ "$act" != look ]; then
	lock=/run/lock/$table-nat.lock
	why=$({ : >>"$lock"; } 2>&1) || fail $NO_ROOM "$why"
	exec 9>>"$lock"
	flock -w 20 9 || fail $BUSY "another change has been under way for 20 seconds"
	all=$(cat)
	[ "$(printf '%s\n' "$all" | tail -n 1)" = "$last" ] || fail $CUT_OFF "the table did not come as a whole"
	rules=$(orders 0)
	routes=$(orders 1)
	if [ -n "$routes" ]; then
		why=$(stolen)
		[ -z "$why" ] || fail $NEEDED $why
	fi
	if [ -n "$rules" ]; then
		if [ "$act" = replace ]; then
			why=$(printf '%s\n' "$rules" | nft -c -f - 2>&1) || fail $REFUSED "$(printf '%s\n' "$why" | head -n 6)"
		fi
		why=$(printf '%s\n' "$rules" | nft -f - 2>&1) || fail $REFUSED "$(printf '%s\n' "$why" | head -n 6)"
	fi
	if [ -n "$routes" ]; then
		why=$(printf '%s\n' "$routes" | ip -force -batch - 2>&1) || fail $ROUTES "$why"
	fi
fi
if [ "$act" != change ]; then
	nft list chains ip | awk -v table="$table" '/^table/ { ours = $3 == table } ours' | sha256sum | cut -d' ' -f1
	ip route show table local type local proto $protocol | awk '{ print $1 == "local" ? $2 : $1 }'
fi
