# Prints: mounted (yes, no), writable (yes, no), size, used and free bytes.
ds=$1
if ! mountpoint -q -- "$ds" 2>/dev/null; then
	echo no no 0 0 0
	exit 0
fi
# A full datastore is not a read-only one: only what says so is.
probe=$ds/.baadal-probe
writable=yes
if ! words=$(touch -- "$probe" 2>&1 && areas "$ds" 2>&1); then
	case $words in
	*'No space left'* | *'quota exceeded'*) ;;
	*) writable=no ;;
	esac
fi
rm -f -- "$probe" 2>/dev/null || :
echo yes "$writable" $(df -B1 --output=size,used,avail -- "$ds" | tail -n 1)
