# Tells whether there is a backup.
ds=$1 uuid=$2
mounted "$ds"
if ours "$ds/vm_backups/$uuid" "$uuid"; then echo yes; else echo no; fi
