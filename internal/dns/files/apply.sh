# Puts the names that come on stdin in the place of the file of ours that dnsmasq
# reads. Arguments: the file, the last line that the names must have.
set -eu
umask 022
export LC_ALL=C
file=$1 last=$2
folder=$(dirname -- "$file")
[ -d "$folder" ] || { echo "there is no folder $folder" >&2; exit 81; }
exec 9>"$file.lock"
flock -w 30 9 || { echo "another change has been under way for half a minute" >&2; exit 80; }
cat >"$file.new" || {
	rm -f -- "$file.new"
	echo "file system: $(df --output=target -- "$folder" | tail -n 1)" >&2
	exit 1
}
[ "$(tail -n 1 -- "$file.new")" = "$last" ] || { echo "the names did not come as a whole" >&2; exit 87; }
sync -- "$file.new"
mv -fT -- "$file.new" "$file"
sync -- "$folder"
