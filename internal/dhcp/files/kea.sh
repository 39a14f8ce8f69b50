# What the scripts call for Kea. $talk is kea.pl.
server=kea-dhcp4
nothing='[]'

# On stdout it says how it would go about its work; mistakes are on stderr.
check() { said=$(kea-dhcp4 -t "$main" 2>&1 >/dev/null 9>&-); }

included() {
	plain=$(sed 's/#.*//; s,//.*,,; s/[[:space:]]//g' <"$main")
	for need in "\"reservations\":<?include\"$file\"?>" '"reservations-global":true' '"match-client-id":false' libdhcp_lease_cmds.so; do
		case $plain in
		*"$need"*) ;;
		*) fail $NO_INCLUDE "$main does not have $need" ;;
		esac
	done
}

# ask sends a command to the server; it succeeds if the server did, too.
ask() {
	said=$(printf '{"command":"%s"}\n' "$1" | perl -e "$talk" "$socket" 2>&1 9>&-) || return 1
	case $said in
	*'"result": 0'*) ;;
	*) return 1 ;;
	esac
}

running() { ask status-get; }

# load makes the server read its files; one that runs goes on meanwhile.
load() {
	if running; then
		ask config-reload
		return
	fi
	restart "$@" || return 1
	tries=0
	until running; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || return 1
		sleep 0.1
	done
}

# loaded prints what the controller wants to know of a server that has them.
loaded() { printf '%s\n' '{"command":"status-get"}' '{"command":"lease4-get-all"}' | perl -e "$talk" "$socket" 9>&-; }

# seen does so, as shortly as can be, of one that has had them for long.
seen() {
	printf '%s\n' '{"command":"status-get"}' '{"command":"statistic-get","arguments":{"name":"declined-addresses"}}' |
		perl -e "$talk" "$socket" 2>/dev/null 9>&-
}

