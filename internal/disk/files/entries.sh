# Prints three NUL-separated lists with an empty record after each: the entries,
# what they occupy ("bytes TAB path"), their marks ("path NUL uuid NEWLINE").
# An entry may vanish meanwhile: its size and mark are then just missing.
ds=$1
mounted "$ds"
cd -- "$ds"
set --
for area in vm_templates vm_images vm_deleted; do
	if [ -d "$area" ]; then set -- "$@" "$area"; fi
done
if [ $# -eq 0 ]; then exit 0; fi
find "$@" -mindepth 1 -maxdepth 1 -printf '%p\0'
printf '\0'
find "$@" -mindepth 1 -maxdepth 1 -print0 | du -0 -s -B1 --files0-from=- || :
printf '\0'
find "$@" -mindepth 2 -maxdepth 2 -name .baadal -type f -print0 | xargs -0r grep -aHZm1 -e '' -- || :
