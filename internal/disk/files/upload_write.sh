# Copies stdin to an upload's file: as a whole or not at all.
ds=$1 file=$2
path=$ds/vm_migration_data/$file
part=$ds/vm_migration_data/.$file.uploaded.part
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -f -- "$part"; fi' EXIT
mounted "$ds"
areas "$ds"
cat >"$part"
sync -- "$part"
move "$part" "$path" || fail $FOREIGN "$path exists already"
