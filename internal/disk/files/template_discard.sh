# Removes one attempt's temporary file.
mounted "$1"
rm -f -- "$1/vm_templates/.$2.$3.part"
