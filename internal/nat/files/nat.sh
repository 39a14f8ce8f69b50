# Looks at, changes or replaces the table of ours on the NAT box. Arguments: what
# to do (look, change, replace), the table's name, the last line of the input.
# The input is a file for nft, then a line "# routes", then lines for ip -batch,
# then the last line.
#
# After a look and a replacement, a mark of the table's chains is printed, then
# our routes. To list its rules would list all sets too, which takes long.
set -eu
umask 077
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"

BUSY=80 NO_NFT=81 REFUSED=82 CUT_OFF=84 ROUTES=85

fail() { # code words...
	code=$1
	shift
	printf '%s\n' "$*" >&2
	exit "$code"
}

act=$1 table=$2 last=$3 protocol=85

command -v nft >/dev/null || fail $NO_NFT "there is no nft"
command -v ip >/dev/null || fail $NO_NFT "there is no ip"

if [ "$act" != look ]; then
	exec 9>"/run/lock/$table-nat.lock"
	flock -w 20 9 || fail $BUSY "another change has been under way for 20 seconds"
	work=$(mktemp -d "/run/$table-nat.XXXXXX")
	trap 'rm -rf -- "$work"' EXIT
	cat >"$work/all"
	[ "$(tail -n 1 -- "$work/all")" = "$last" ] || fail $CUT_OFF "the table did not come as a whole"
	awk -v ip="$work/ip" '/^# / { routes = 1; next } routes { print >ip; next } { print }' <"$work/all" >"$work/nft"
	if [ -s "$work/nft" ]; then
		if [ "$act" = replace ]; then
			why=$(nft -c -f "$work/nft" 2>&1) || fail $REFUSED "$(printf '%s\n' "$why" | head -n 6)"
		fi
		why=$(nft -f "$work/nft" 2>&1) || fail $REFUSED "$(printf '%s\n' "$why" | head -n 6)"
	fi
	if [ -s "$work/ip" ]; then
		why=$(ip -force -batch "$work/ip" 2>&1) || fail $ROUTES "$why"
	fi
fi
if [ "$act" != change ]; then
	nft list chains ip | awk -v table="$table" '/^table/ { ours = $3 == table } ours' | sha256sum | cut -d' ' -f1
	ip route show table local type local proto $protocol | awk '{ print $1 == "local" ? $2 : $1 }'
fi
