#!/bin/sh
# Boots the systemd of this machine in a box: namespaces of its own over a copy of
# the root file system that is thrown away. Run by box.go, as
#   unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child sh box.sh FOLDER
set -eu
dir=$1
mount --make-rprivate /
mount -t tmpfs tmpfs "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
root=$dir/root
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
	mkdir "$root/sys/fs/cgroup/systemd"
	mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
	touch "$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"

# What stands on this machine for tests is not there on a fresh one.
rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/postgresql-common/createcluster.conf"
rm -rf "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/systemd/system/timers.target.wants"
echo '127.0.0.1 localhost id.example.org' >"$root/etc/hosts"
ip link set lo up

export container=latchkey
# Not by chroot alone, in which services could have no namespaces of users.
mkdir "$root/old"
cd "$root"
pivot_root . old
umount -l /old
rmdir /old
exec /lib/systemd/systemd --system --log-target=journal --show-status=0 systemd.unit=multi-user.target
