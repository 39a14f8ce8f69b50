#!/bin/bash
# Builds the tiny guest: a 19 MB BIOS-bootable qcow2 made of Debian packages, without loop mounts, and without
# installing any of them on the machine.
#   MBR, partition 1: FAT16 (syslinux, kernel, initrd), partition 2: ext4 "root" (busybox, dropbear, qemu-ga).
# usage: build.sh DEBS FILES WORK OUT
#   DEBS  where downloaded packages are kept    FILES  the files beside this script
#   WORK  an empty folder to work in            OUT    a folder: gets tiny.qcow2, vmlinuz, initrd
set -euo pipefail
debs=$1 files=$2 work=$3 out=$4
mkdir -p "$debs" "$work"/{x,root,ird,kernel} "$out"

updated=
update() {
	if [ -n "$updated" ]; then
		return 1
	fi
	echo "apt-get update"
	apt-get update -qq
	updated=1
}
# the first of the alternatives a|b that was downloaded before, or that the archive has
pick() {
	local p
	for p in ${1//|/ }; do
		if [ -n "$(find "$debs" -name "${p}_*.deb" -print -quit)" ]; then
			echo "$p"
			return
		fi
	done
	for p in ${1//|/ }; do
		if apt-cache show "$p" >/dev/null 2>&1; then
			echo "$p"
			return
		fi
	done
	return 1
}
fetch() { # prints the package's file
	local p found
	p=$(pick "$1") || { update >&2; p=$(pick "$1") || { echo "package $1 is not in the archive" >&2; return 1; }; }
	found=$(find "$debs" -name "${p}_*.deb" -print -quit)
	if [ -z "$found" ]; then
		echo "downloading $p" >&2
		(cd "$debs" && apt-get download -qq -o APT::Sandbox::User=root "$p") || {
			update >&2
			(cd "$debs" && apt-get download -qq -o APT::Sandbox::User=root "$p")
		}
		found=$(find "$debs" -name "${p}_*.deb" -print -quit)
	fi
	echo "$found"
}

kernel() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }'; }
kpkg=$(kernel)
if [ -z "$kpkg" ]; then
	update
	kpkg=$(kernel)
fi
deb=$(fetch "$kpkg")
dpkg -x "$deb" "$work/kernel"
for p in busybox-static dropbear-bin 'libtomcrypt1|libtomcrypt1t64' libtommath1 libgmp10 qemu-guest-agent \
	'libglib2.0-0|libglib2.0-0t64' libpcre2-8-0 liburing2 'libudev1|libudev1t64' syslinux syslinux-common; do
	deb=$(fetch "$p")
	dpkg -x "$deb" "$work/x"
done
K=$work/kernel X=$work/x R=$work/root I=$work/ird
KV=$(basename "$K"/lib/modules/*)
M=$K/lib/modules/$KV
depmod -b "$K" "$KV" 2>/dev/null || true

# the files of modules and of what they need, in the order of insertion
mods() {
	local m
	for m in "$@"; do
		modprobe -d "$K" -S "$KV" --show-depends "$m" 2>/dev/null | awk '/^insmod/ { print $2 }'
	done | awk '!seen[$0]++'
}

# ---- initrd: only what it takes to find the root file system
mkdir -p "$I"/{bin,mods,proc,sys,dev,root}
cp "$X/bin/busybox" "$I/bin/" 2>/dev/null || cp "$X/usr/bin/busybox" "$I/bin/"
ln -s busybox "$I/bin/sh"
n=100
for f in $(mods virtio_pci virtio_blk virtio_scsi sd_mod ata_piix); do
	cp "$f" "$I/mods/$n-$(basename "$f")"
	n=$((n + 1))
done
install -m 755 "$files/initrd-init" "$I/init"
(cd "$I" && find . | cpio -o -H newc --quiet | gzip -9) > "$out/initrd"

# ---- root file system
mkdir -p "$R"/{bin,sbin,etc/dropbear,etc/init.d,etc/udhcpc,proc,sys,dev,tmp,run,root/.ssh,mnt} \
	"$R"/{var/log,var/run,var/lib/cloud,usr/bin,usr/sbin,lib64,lib/x86_64-linux-gnu,"lib/modules/$KV"}
cp "$I/bin/busybox" "$R/bin/"
for a in $("$R/bin/busybox" --list); do
	[ -e "$R/bin/$a" ] || ln -s busybox "$R/bin/$a"
done
ln -s ../bin/busybox "$R/sbin/init"
cp "$X/usr/sbin/dropbear" "$X/usr/bin/dropbearkey" "$X/usr/sbin/qemu-ga" "$R/usr/sbin/"
libs=$(find "$X" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
for b in "$R"/usr/sbin/*; do
	LD_LIBRARY_PATH=$libs ldd "$b" | awk '/=> \// { print $3 }'
done | sort -u | while read -r l; do cp -L "$l" "$R/lib/x86_64-linux-gnu/"; done
cp -L /lib/x86_64-linux-gnu/libnss_files.so.2 "$R/lib/x86_64-linux-gnu/" 2>/dev/null || true
cp -L /lib64/ld-linux-x86-64.so.2 "$R/lib64/"
cp "$M/modules.builtin" "$M/modules.order" "$R/lib/modules/$KV/"
for f in $(mods virtio_net virtio_balloon virtio_console button evdev isofs sr_mod cdrom nls_utf8 nls_ascii \
	virtio_scsi virtio_blk sd_mod ata_piix virtio-rng virtio_mem); do
	d=$R${f#"$K"}
	mkdir -p "$(dirname "$d")"
	cp "$f" "$d"
done
depmod -b "$R" "$KV" 2>/dev/null || true
echo 'root:x:0:0:root:/root:/bin/sh' > "$R/etc/passwd"
echo 'root:x:0:' > "$R/etc/group"
echo 'root:*:19000:0:99999:7:::' > "$R/etc/shadow" # no password, no key: both come with the seed only
printf 'passwd: files\nshadow: files\ngroup: files\n' > "$R/etc/nsswitch.conf"
echo /bin/sh > "$R/etc/shells"
echo tiny > "$R/etc/hostname"
: > "$R/root/.ssh/authorized_keys"
chmod 700 "$R/root" "$R/root/.ssh"
chmod 600 "$R/root/.ssh/authorized_keys" "$R/etc/shadow"
cp "$files/inittab" "$R/etc/inittab"
install -m 755 "$files/rcS" "$files/rcK" "$files/cloud" "$R/etc/init.d/"
install -m 755 "$files/udhcpc.script" "$R/etc/udhcpc/default.script"

# ---- disk (sizes in MiB)
p1=20 p2=58
truncate -s $((1 + p1 + p2 + 1))M "$work/disk"
printf 'label: dos\n1MiB,%sMiB,6,*\n%sMiB,%sMiB,83\n' $p1 $((1 + p1)) $p2 | sfdisk -q "$work/disk"
cp "$K/boot/vmlinuz-$KV" "$out/vmlinuz"
truncate -s ${p1}M "$work/p1"
mkfs.vfat -F 16 -n BOOT "$work/p1" >/dev/null
mcopy -i "$work/p1" "$out/vmlinuz" "$out/initrd" "$files/syslinux.cfg" ::
"$X/usr/bin/syslinux" --install "$work/p1" # this syslinux goes through mtools: no mount
truncate -s ${p2}M "$work/p2"
mke2fs -q -t ext4 -O '^has_journal,^metadata_csum' -L root -d "$R" "$work/p2"
dd if="$work/p1" of="$work/disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$work/p2" of="$work/disk" bs=1M seek=$((1 + p1)) conv=notrunc,sparse status=none
mbr=$(find "$X" -path '*/mbr/mbr.bin' -print -quit)
dd if="$mbr" of="$work/disk" bs=440 count=1 conv=notrunc status=none
qemu-img convert -q -O qcow2 -c "$work/disk" "$out/tiny.qcow2"
