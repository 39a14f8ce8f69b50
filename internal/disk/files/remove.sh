# Removes a VM's folder and what its attempts left beside it.
ds=$1 area=$2 folder=$3 uuid=$4 attempt=$5
turn "$uuid"
mounted "$ds"
if ours "$ds/$area/$folder" "$uuid"; then
	discard "$ds/$area/$folder" "$uuid" "$attempt"
elif there "$ds/$area/$folder"; then
	fail $FOREIGN "$ds/$area/$folder is not this VM's"
fi
sweep "$ds/$area" "$uuid"
