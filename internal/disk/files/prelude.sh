# Put before every script of this folder. Values come as positional
# parameters only; the exit codes are known to errors.go.
set -eu
umask 077
export LC_ALL=C PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"

NOT_MOUNTED=80 FOREIGN=81 NOTHING=82 NO_TEMPLATE=83 BAD_IMAGE=84 OVERTAKEN=85 TWO_FILESYSTEMS=86 IN_USE=87 DIFFERS=88 DAMAGED=90 OPEN=95

fail() { # code words...
	code=$1
	shift
	printf '%s\n' "$*" >&2
	exit "$code"
}

# room tells how much room there is, for the words of "datastore full".
room() { # datastore
	printf 'room: %s\n' "$(df -B1 --output=size,avail -- "$1" 2>/dev/null | tail -n 1)" >&2
}

# An empty folder where the datastore should be mounted would take the writes
# and hide them once the mount is back.
mounted() { # datastore
	mountpoint -q -- "$1" 2>/dev/null || fail $NOT_MOUNTED "nothing is mounted at $1"
}

# areas makes the folders of the layout. QEMU may run as another user than
# root: it must be able to pass through them, not to list them.
areas() { # datastore
	for area in vm_templates vm_images vm_extra_disks vm_migration_data vm_deleted vm_bases; do
		[ -d "$1/$area" ] || mkdir -p -m 0711 -- "$1/$area"
	done
}

there() { [ -e "$1" ] || [ -L "$1" ]; }

# ours reports whether a folder carries the mark of a VM.
ours() { # folder uuid
	[ -d "$1" ] && [ ! -L "$1" ] && [ -f "$1/.baadal" ] && [ "$(head -c 64 -- "$1/.baadal")" = "$2" ]
}

# sweep removes what earlier attempts for a VM left in an area. Names that begin
# with a dot and the UUID are nobody else's.
sweep() { # area uuid
	for left in "$1/.$2."*; do
		if there "$left"; then rm -rf -- "$left"; fi
	done
}

# move renames within the file system and never replaces: mv -n is silent when
# it did nothing, so it is looked at afterwards.
move() { # from to
	[ "$(stat -c %d -- "$1")" = "$(stat -c %d -- "$(dirname -- "$2")")" ] ||
		fail $TWO_FILESYSTEMS "$1 and $2 lie on two file systems"
	mv -nT -- "$1" "$2" || :
	if there "$1"; then return 1; fi
	sync -- "$(dirname -- "$1")" "$(dirname -- "$2")"
}

# idle refuses a disk that some QEMU, on whatever host, has open for writing: it
# holds a lock on the file. What else may be wrong with the disk does not matter.
idle() { # file
	if [ ! -f "$1" ] || words=$(qemu-img info -- "$1" 2>&1 >/dev/null); then return; fi
	case $words in *"lock"*) fail $OPEN "$words" ;; esac
}

# basefolder makes a base's folder with its mark, if it is not there.
basefolder() { # datastore base attempt
	if ours "$1/vm_bases/$2" "$2"; then return; fi
	if there "$1/vm_bases/$2"; then fail $FOREIGN "$1/vm_bases/$2 is not this base's"; fi
	sweep "$1/vm_bases" "$2"
	fresh=$1/vm_bases/.$2.$3.new
	mkdir -m 0711 -- "$fresh"
	printf '%s\n' "$2" >"$fresh/.baadal"
	sync -- "$fresh/.baadal" "$fresh"
	move "$fresh" "$1/vm_bases/$2" || fail $OVERTAKEN "$fresh could not be named"
}

# discard removes a VM's folder as a whole: it is renamed out of the way first, so
# that a half-removed folder never stands under a VM's name without its mark.
discard() { # folder uuid attempt
	gone=$(dirname -- "$1")/.$2.$3.gone
	move "$1" "$gone" || fail $OVERTAKEN "$1 could not be taken away"
	rm -rf -- "$gone"
}

# turn waits until no other attempt for this VM is at work on this host, and
# keeps others out until we end. One that is at work was started by a controller
# that was killed, or gave up on it: its answer would reach nobody, so it is told
# to end. The number of lock files is bounded; a VM that shares one just waits.
turn() { # uuid
	mkdir -p -m 0700 /run/lock/baadal
	lock=/run/lock/baadal/disk.$(printf %.3s "$1")
	read -r _ _ _ _ group _ <"/proc/$$/stat"
	exec 9>>"$lock"
	rc=0
	flock -n 9 || rc=$?
	if [ $rc -gt 1 ]; then exit $rc; fi # it is missing, and the shell has said so
	if [ $rc = 1 ]; then
		read -r older who <"$lock" || who=
		if [ "$who" = "$1 $ds" ] && [ "$older" != "$group" ]; then kill -TERM "-$older" 2>/dev/null || :; fi
		if ! flock -w 15 9; then
			if [ "$who" = "$1 $ds" ] && [ "$older" != "$group" ]; then kill -KILL "-$older" 2>/dev/null || :; fi
			flock -w 5 9 || fail $OVERTAKEN "another attempt for $1 is at work"
		fi
	fi
	printf '%s %s %s\n' "$group" "$1" "$ds" >"$lock"
}
