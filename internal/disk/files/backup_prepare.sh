# Makes the folder that a backup's files are written to, in place of what an
# earlier attempt left.
ds=$1 uuid=$2
part=$ds/vm_backups/.$uuid.part
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; fi' EXIT
turn "$uuid"
mounted "$ds"
areas "$ds"
[ -d "$ds/vm_backups" ] || mkdir -p -m 0711 -- "$ds/vm_backups"
if there "$ds/vm_backups/$uuid"; then fail $FOREIGN "$ds/vm_backups/$uuid is there already"; fi
sweep "$ds/vm_backups" "$uuid"
mkdir -m 0711 -- "$part"
printf '%s\n' "$uuid" | cat >"$part/.baadal"
sync -- "$part/.baadal" "$part" "$ds/vm_backups"
