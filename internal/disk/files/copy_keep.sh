# Gives a finished copy the base's name.
ds=$1 base=$2
into=$ds/vm_bases/$base
turn "$base"
mounted "$ds"
if ! ours "$into" "$base"; then fail $NOTHING "there is no base $base"; fi
if there "$into/base.qcow2"; then
	rm -f -- "$into/copy.part"
	exit 0
fi
[ -f "$into/copy.part" ] || fail $NOTHING "there is no $into/copy.part"
chmod 0444 -- "$into/copy.part"
sync -- "$into/copy.part"
move "$into/copy.part" "$into/base.qcow2" || fail $OVERTAKEN "$into/copy.part could not be named"
