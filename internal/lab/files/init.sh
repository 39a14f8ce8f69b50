#!/bin/bash
# Process 1 of a lab node. It starts in new mount, uts, ipc, net and pid namespaces; it makes the node's file
# system and then only waits: killing it with -9 kills all that runs in the node, as pulling a power cord does.
#
# Environment: LAB (the lab's folder), NODE (its name), CGROUPS ("v2", or the v1 controllers), KVM (1: show /dev/kvm),
# DATASTORES (names). Descriptor 3: one line means go; 4: we say ready there.
set -eu

if [ "${1:-}" != inside ]; then
	# The line comes when the lab has written us down and has put us into our cgroups. If the lab died first, read
	# meets the end of the file, and so do we.
	read -r _ <&3
	exec unshare -C bash "$0" inside
fi
exec 3<&-

mount --make-rprivate /
cd "$LAB/nodes/$NODE/root"
mount --bind "$PWD" "$PWD" # pivot_root wants a mount
cd "$PWD"

# The machine's programs, read-only; nothing else of the machine's files is seen in here.
for d in usr bin sbin lib lib32 lib64 libx32 $SHOW; do
	if [ -L "/$d" ]; then
		ln -sfn "$(readlink "/$d")" "$d"
	elif [ -d "/$d" ]; then
		mkdir -p "$d"
		mount --rbind "/$d" "$d"
		mount -o remount,bind,ro "$d"
	fi
done

mkdir -p dev mnt oldroot proc run sys tmp
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t proc proc proc
mount -t sysfs sysfs sys
mkdir -p run/lock run/sshd run/openvswitch

# A /dev of our own. Where guests cannot run under KVM it has no /dev/kvm at all: libvirt then offers qemu only. (A
# masked /dev/kvm would make libvirt ask QEMU anew at every call.)
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/net dev/pts dev/shm
for f in null zero full random urandom tty net/tun $([ "$KVM" != 1 ] || echo kvm); do
	: > "dev/$f"
	mount --bind "/dev/$f" "dev/$f"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr

# The cgroup namespace has its root at our own cgroup, so that every libvirtd has a whole tree for itself.
if [ "$CGROUPS" = v2 ]; then
	mount -t cgroup2 cgroup2 sys/fs/cgroup
else
	mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
	for c in $CGROUPS; do
		mkdir "sys/fs/cgroup/$c"
		mount -t cgroup -o "$c" cgroup "sys/fs/cgroup/$c"
		for alias in ${c//,/ }; do
			[ "$alias" = "$c" ] || ln -s "$c" "sys/fs/cgroup/$alias"
		done
	done
fi

for d in $DATASTORES; do
	mkdir -p "mnt/$d"
	mount --bind "$LAB/mnt/$d" "mnt/$d"
done

pivot_root . oldroot
cd /
umount -l /oldroot

echo "$NODE" > /proc/sys/kernel/hostname
ip link set lo up
if [ -e /proc/sys/net/ipv6/conf/all/disable_ipv6 ]; then
	echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
	echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
fi
if [ "$NODE" = nat ]; then
	echo 1 > /proc/sys/net/ipv4/ip_forward
fi

trap '' TERM HUP INT
echo ready >&4
exec 4>&-
set +e
while :; do
	sleep infinity &
	wait $! # reaps orphans too
done
