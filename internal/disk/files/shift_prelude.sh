# Put between extra_prelude.sh and the scripts about a disk's file on its way to
# another datastore. The first disk's file (id 0) lies in a folder that carries
# the VM's mark; the file of any other disk has a mark of its own beside that.

# theirs reports whether a file in a marked folder is the disk's.
theirs() { # folder file id
	[ "$3" = 0 ] || mine "$1" "$2" "$3"
}

# leftover removes what earlier attempts left of a file.
leftover() { # folder file
	for left in "$1/.$2."????????.part "$1/.$2."????????.mark; do
		if there "$left"; then rm -f -- "$left"; fi
	done
}
