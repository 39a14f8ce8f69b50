# Replaces the rules of a bridge ($2) by those on stdin, as a whole or not at all.
set -eu
export PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin" OVS_RUNDIR="$1"
flows=$(cat)
case $flows in
*'# end') ;;
*) echo "the rules came only in part" >&2; exit 75 ;;
esac
# A change of the fail mode empties the tables: it comes first, and whoever asks
# us to end in between (a controller that is stopped) waits for the rules.
trap '' TERM HUP
[ -z "$3" ] || ovs-vsctl --db="unix:$1/db.sock" --timeout=10 set-fail-mode "$2" "$3"
[ -z "$4" ] || ovs-ofctl -t 10 set-frags "$2" "$4"
printf '%s\n' "$flows" | ovs-ofctl -t 10 -OOpenFlow14 --bundle replace-flows "$2" -
