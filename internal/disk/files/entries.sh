# Prints three NUL-separated lists with an empty record after each: the entries,
# what they occupy ("bytes TAB path"), their marks ("path NUL uuid NEWLINE").
# An entry may vanish meanwhile: its size and mark are then just missing.
ds=$1
mounted "$ds"
cd -- "$ds"
set --
for area in vm_templates vm_images vm_deleted vm_bases vm_migration_data vm_backups; do
	if [ -d "$area" ]; then set -- "$@" "$area"; fi
done
if [ $# -eq 0 ]; then exit 0; fi
# The folders of extra disks lie one level deeper; their files count one by one.
extra() { # find's conditions
	if [ -d vm_extra_disks ]; then find vm_extra_disks -mindepth 2 "$@"; fi
}
list() { # areas
	find "$@" -mindepth 1 -maxdepth 1 -printf '%p\0'
	extra -maxdepth 3 ! -path 'vm_extra_disks/*/*/.*' -printf '%p\0'
	if [ -d vm_backups ]; then find vm_backups -mindepth 2 -maxdepth 2 ! -path 'vm_backups/.*' ! -name '.*' -printf '%p\0'; fi
}
list "$@"
printf '\0'
list "$@" | du -0 -l -s -B1 --files0-from=- || :
printf '\0'
{
	find "$@" -mindepth 2 -maxdepth 2 -name .baadal -type f -print0
	extra -mindepth 3 -maxdepth 3 -name .baadal -type f -print0
} | xargs -0r grep -aHZm1 -e '' -- || :
