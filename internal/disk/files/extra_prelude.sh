# Put between the prelude and the scripts about disks beside a VM's first one.
# A VM's folder of them carries the VM's mark, and each file in it the disk's: a
# hidden file beside it that holds the disk's number.

# mine reports whether a file carries the mark of a disk.
mine() { # folder file id
	[ -f "$1/.$2.id" ] && [ "$(head -c 32 -- "$1/.$2.id")" = "$3" ]
}

# mark gives a file, which need not be there yet, the mark of a disk.
mark() { # folder file id attempt
	printf '%s\n' "$3" | cat >"$1/.$2.$4.mark" # unlike printf, cat says why it cannot
	sync -- "$1/.$2.$4.mark"
	mv -fT -- "$1/.$2.$4.mark" "$1/.$2.id"
	sync -- "$1"
}

# folder makes a marked folder as a whole or not at all; the same again is success.
folder() { # path uuid attempt
	if ours "$1" "$2"; then return 0; fi
	if there "$1"; then fail $FOREIGN "$1 exists and is not this VM's"; fi
	parent=$(dirname -- "$1")
	[ -d "$parent" ] || mkdir -p -m 0711 -- "$parent"
	sweep "$parent" "$2"
	mkdir -m 0711 -- "$parent/.$2.$3.new"
	printf '%s\n' "$2" | cat >"$parent/.$2.$3.new/.baadal"
	sync -- "$parent/.$2.$3.new/.baadal" "$parent/.$2.$3.new"
	if move "$parent/.$2.$3.new" "$1"; then return 0; fi
	rm -rf -- "$parent/.$2.$3.new"
	ours "$1" "$2" || fail $OVERTAKEN "$1 could not be made"
}

# others removes the other names that a disk's file had in a folder: files that
# became bases. They carry the disk's mark too, and nobody has them open.
others() { # folder file id
	for mark in "$1"/.*.id; do
		[ -f "$mark" ] || continue
		other=${mark#"$1"/.}
		other=${other%.id}
		if [ "$other" != "$2" ] && [ "$(head -c 32 -- "$mark")" = "$3" ]; then rm -f -- "$1/$other" "$mark"; fi
	done
}

# tidy removes a marked folder in which no file of anybody is left.
tidy() { # folder uuid attempt
	if ! ours "$1" "$2"; then return 0; fi
	for left in "$1"/*; do
		if there "$left"; then return 0; fi
	done
	discard "$1" "$2" "$3"
}

# carry moves one disk's file with its mark into another marked folder.
carry() { # from to file id attempt
	mark "$2" "$3" "$4" "$5"
	move "$1/$3" "$2/$3" || fail $OVERTAKEN "$1/$3 could not be moved to $2"
	rm -f -- "$1/.$3.id"
}
