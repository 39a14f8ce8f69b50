# Makes the folder of a base that a copy will be, and removes an unfinished copy.
ds=$1 base=$2 attempt=$3
turn "$base"
mounted "$ds"
areas "$ds"
basefolder "$ds" "$base" "$attempt"
rm -f -- "$ds/vm_bases/$base/copy.part"
