# Makes a backup whole and gives it its name; its description comes by standard
# input, the names of its files as the last parameters. Prints for each file its
# sum and length.
ds=$1 uuid=$2 parent=$3
shift 3
into=$ds/vm_backups
final=$into/$uuid
part=$into/.$uuid.part
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then cat >/dev/null; room "$ds"; fi' EXIT
turn "$uuid"
mounted "$ds"
told() { # folder files...
	folder=$1
	shift
	for file; do
		sum=$(sed -n "s/^\([0-9a-f]*\)  $file\$/\1/p" "$folder/SHA256SUMS")
		printf '%s %s\n' "$sum" "$(stat -c %s -- "$folder/$file")"
	done
}
if ours "$final" "$uuid"; then
	cat >/dev/null
	told "$final" "$@"
	exit 0
fi
if ! ours "$part" "$uuid"; then fail $NOTHING "there is no $part"; fi
for file; do
	[ -f "$part/$file" ] || fail $NOTHING "there is no $part/$file"
	chmod 0600 -- "$part/$file"
	if [ -n "$parent" ]; then
		[ -f "$into/$parent/$file" ] || fail $NOTHING "there is no $into/$parent/$file"
		# What an increment names now is the disk of the VM.
		qemu-img rebase -q -u -f qcow2 -b "../$parent/$file" -F qcow2 -- "$part/$file" >&2
	fi
	rc=0
	words=$(qemu-img check -q -f qcow2 -- "$part/$file" 2>&1) || rc=$?
	# 3: clusters nobody uses, which harms nobody.
	if [ $rc -ne 0 ] && [ $rc -ne 3 ]; then fail $BAD_IMAGE "$words"; fi
done
cat >"$part/backup.json"
(cd -- "$part" && sha256sum -- "$@" >SHA256SUMS)
for file in "$@" backup.json SHA256SUMS; do
	chmod 0444 -- "$part/$file"
	sync -- "$part/$file"
done
told "$part" "$@"
sync -- "$part"
move "$part" "$final" || fail $OVERTAKEN "$part could not be named"
