#!/bin/sh
# Installs the Debian packages named as arguments that are not there yet. Their
# daemons are not started: the lab and the tests start their own, in namespaces.
set -eu
missing=
for p in "$@"; do
	if [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" != installed ]; then
		missing="$missing $p"
	fi
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "root is needed to install:$missing" >&2
	echo "  sudo apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi
echo "installing:$missing"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' > "$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
	trap 'exit 130' INT TERM
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
if ! apt-get install -y -q --no-install-recommends $missing > /tmp/baadal-packages.log 2>&1; then
	apt-get update -q >> /tmp/baadal-packages.log 2>&1 || true
	apt-get install -y -q --no-install-recommends $missing >> /tmp/baadal-packages.log 2>&1 || {
		tail -n 20 /tmp/baadal-packages.log >&2
		echo "the packages could not be installed; the whole log is /tmp/baadal-packages.log" >&2
		exit 1
	}
fi
rm -f /tmp/baadal-packages.log
