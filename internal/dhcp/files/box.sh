# The beginning of each script for the DHCP box. Arguments: what the script is
# given, the file of ours, the server's main configuration, its control socket
# (may be empty), the number of words of the restart command, these words, the
# words of the command that tells whether the server runs (may be none).
#
# What differs between servers comes before this: server, nothing (the text of no
# reservations), check, included, running, load, loaded and seen.
set -eu
umask 022
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"

BUSY=80 NO_MAIN=81 NO_INCLUDE=82 MAIN_BROKEN=83 REFUSED=84 RESTART_FAILED=85 DOWN=86 CUT_OFF=87 NO_SERVER=88 STOPPED=89

fail() { # code words...
	code=$1
	shift
	printf '%s\n' "$*" >&2
	exit "$code"
}

given=$1 file=$2 main=$3 socket=$4 restart_words=$5
shift 5
folder=$(dirname -- "$file")

# there fails if anything is missing that everything else needs.
there() {
	[ -d "$folder" ] || fail $NO_MAIN "there is no folder $folder"
	[ -f "$main" ] || fail $NO_MAIN "there is no $main"
	command -v $server >/dev/null || fail $NO_SERVER "there is no $server"
}

# bounded runs a command that is over soon, without the lock.
bounded() { timeout 60 "$@" >/dev/null 2>&1 </dev/null 9>&-; }

# detached runs a command in a session of its own, so that it is not killed half
# way with us; the lock is then held until it has ended. The command itself gets
# neither the lock nor our output: a daemon that it starts would keep them.
detached() {
	rc=0 log=$file.log
	true 2>/dev/null >"$log" || log=/dev/null
	setsid -w sh -c 'timeout -k 5 60 "$@" 9>&-' sh "$@" >"$log" 2>&1 </dev/null || rc=$?
	said=$(tail -n 20 -- "$log")
	[ "$log" = /dev/null ] || rm -f -- "$log"
	return $rc
}

restart() {
	status_words=$(($# - restart_words))
	moved=0
	while [ $moved -lt "$restart_words" ]; do
		set -- "$@" "$1"
		shift
		moved=$((moved + 1))
	done
	shift $status_words
	# systemd lets a unit be started five times in ten seconds, and ISC dhcpd is
	# started at each change: the count begins anew.
	if [ "$1 ${2-}" = "systemctl restart" ]; then (shift 2 && bounded systemctl reset-failed "$@") || :; fi
	detached "$@"
}

# start lets a server that does not run read its files.
start() {
	check || fail $MAIN_BROKEN "$said"
	load "$@" || fail $DOWN "$said"
}

