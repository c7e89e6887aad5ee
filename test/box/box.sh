#!/bin/sh
# Makes a machine out of this one, in namespaces of its own: its files under an
# overlay in memory, and the real systemd as process 1. Nothing that happens there
# reaches this machine, and all of it is gone with process 1.
# $1 is a folder to mount on, $2 what appears there as /mnt (or nothing), $3 the
# target that is booted. Run by box.go.
set -eu
mount -t tmpfs -o mode=0755 tmpfs "$1"
root=$1/root
mkdir -p "$1/upper/etc" "$1/work" "$root"
: >"$1/upper/etc/fstab"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mkdir "$root/sys/fs/cgroup/systemd"
if ! mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"; then
	umount "$root/sys/fs/cgroup"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
fi
for dir in run tmp dev; do mount -t tmpfs -o mode=0755 tmpfs "$root/$dir"; done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t tmpfs tmpfs "$root/dev/shm"
chmod 1777 "$root/tmp" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for n in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${n%:*}" "$root/dev/${n#*:}"; done
for device in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "$root/dev/${device%:*}" c 1 "${device#*:}"; done
mknod -m 666 "$root/dev/tty" c 5 0
[ -z "$2" ] || mount --bind "$2" "$root/mnt"

# What stands on this machine for tests is not there on a fresh one.
rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/apt/apt.conf.d/docker-clean" "$root/etc/postgresql-common/createcluster.conf"
rm -rf "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/systemd/system/timers.target.wants"
ip link set lo up

# Not by chroot alone, in which services could have no namespaces of users.
mkdir "$root/run/old"
cd "$root"
pivot_root . run/old
exec env -i container=latchkey PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . sh -c 'umount -l /run/old
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_boot /lib/systemd/systemd --system --unit="$1" --log-target=journal --show-status=no' sh "$3"
