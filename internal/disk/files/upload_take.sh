# Gives an upload a second name, the temporary one of a template.
from=$1/vm_migration_data/$2
part=$1/vm_templates/.$3.uploaded.part
mounted "$1"
[ -f "$from" ] || fail $NOTHING "there is no $from"
ln -f -- "$from" "$part"
