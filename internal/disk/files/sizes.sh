# Prints what the files of disks occupy: 512-byte blocks, TAB, name, NUL.
ds=$1
mounted "$ds"
cd -- "$ds"
set --
for area in vm_images vm_extra_disks; do
	if [ -d "$area" ]; then set -- "$@" "$area"; fi
done
if [ $# -eq 0 ]; then exit 0; fi
find "$@" -mindepth 2 -maxdepth 3 -type f -name '*.qcow2' ! -name '.*' ! -path '*/.*' -printf '%b\t%f\0'
