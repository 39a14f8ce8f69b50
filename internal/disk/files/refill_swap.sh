# Puts a disk aside and the staged one in its place, or takes that back, or
# removes what was put aside.
ds=$1 dir=$1/$2 vm=$3 file=$4 tag=$5 act=$6
staged=$dir/.$file.$tag.staged
aside=$dir/.$file.$tag.aside
turn "$vm"
mounted "$ds"
if ! there "$dir" && [ "$act" != swap ]; then exit 0; fi
if ! ours "$dir" "$vm"; then fail $NOTHING "$dir is not this VM's"; fi
case $act in
swap)
	if there "$staged"; then
		if ! there "$aside"; then
			idle "$dir/$file"
			mv -nT -- "$dir/$file" "$aside"
			sync -- "$dir"
		fi
		mv -nT -- "$staged" "$dir/$file"
	elif ! there "$aside"; then
		fail $NOTHING "there is no $staged"
	fi
	;;
unswap)
	if there "$aside"; then mv -fT -- "$aside" "$dir/$file"; fi
	rm -f -- "$staged" "$staged.part"
	;;
drop) rm -f -- "$aside" ;;
esac
sync -- "$dir"
