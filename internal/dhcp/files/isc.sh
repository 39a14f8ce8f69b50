# What the scripts call for ISC dhcpd.
server=dhcpd
nothing=

check() { said=$(dhcpd -t -cf "$main" 2>&1 9>&-); }

included() {
	sed 's/#.*//; s/[[:space:]][[:space:]]*/ /g' <"$main" | grep -qF "include \"$file\"" ||
		fail $NO_INCLUDE "$main does not include $file"
}

running() {
	shift "$restart_words"
	[ $# -eq 0 ] || bounded "$@"
}

# load makes the server read its files.
load() { restart "$@" && running "$@"; }

# loaded prints what the controller wants to know of a server that has them.
loaded() { :; }

# seen does so, as shortly as can be, of one that has had them for long.
seen() { running "$@"; }

