# Gives an upload that came as a whole its name.
path=$1/vm_migration_data/$2
part=$1/vm_migration_data/.$2.uploaded.part
mounted "$1"
[ -f "$part" ] || fail $OVERTAKEN "there is no $part any more"
move "$part" "$path" || fail $FOREIGN "$path exists already"
