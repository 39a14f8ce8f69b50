# Copies stdin to the temporary file of an upload.
ds=$1
part=$ds/vm_migration_data/.$2.uploaded.part
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -f -- "$part"; fi' EXIT
mounted "$ds"
areas "$ds"
cat >"$part"
sync -- "$part"
