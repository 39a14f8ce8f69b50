# Copies stdin to the attempt's temporary file.
ds=$1 part=$1/vm_templates/.$2.$3.part
mounted "$ds"
trap 'exit 143' HUP INT TERM
trap 'rc=$?; if [ $rc -ne 0 ]; then room "$ds"; rm -f -- "$part"; fi' EXIT
cat >"$part"
sync -- "$part"
