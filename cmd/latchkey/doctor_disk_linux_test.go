package main

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The numbers are those of linux/magic.h, and of coreutils for what is not in there.
func TestDoctorKnowsNetworkDisks(t *testing.T) {
	for name, of := range map[string]struct {
		number int64
		want   string
	}{
		"nfs": {unix.NFS_SUPER_MAGIC, "NFS"}, "smb": {unix.SMB_SUPER_MAGIC, "SMB"}, "smb2": {unix.SMB2_SUPER_MAGIC, "SMB"}, "cifs": {unix.CIFS_SUPER_MAGIC, "CIFS"},
		"ceph": {unix.CEPH_SUPER_MAGIC, "Ceph"}, "9p": {unix.V9FS_MAGIC, "9P"}, "afs": {unix.AFS_SUPER_MAGIC, "AFS"}, "afs of the kernel": {unix.AFS_FS_MAGIC, "AFS"},
		"coda": {unix.CODA_SUPER_MAGIC, "Coda"}, "ocfs2": {unix.OCFS2_SUPER_MAGIC, "OCFS2"}, "lustre": {0x0bd00bd0, "Lustre"}, "gpfs": {0x47504653, "GPFS"},
		"beegfs": {0x19830326, "BeeGFS"}, "vboxsf": {0x786f4256, "a shared folder of VirtualBox"}, "vmhgfs": {0xbacbacbc, "a shared folder of VMware"},

		"ext4": {unix.EXT4_SUPER_MAGIC, ""}, "xfs": {unix.XFS_SUPER_MAGIC, ""}, "btrfs": {unix.BTRFS_SUPER_MAGIC, ""}, "zfs": {0x2fc12fc1, ""}, "f2fs": {unix.F2FS_SUPER_MAGIC, ""},
		"bcachefs": {0xca451a4e, ""}, "tmpfs": {unix.TMPFS_MAGIC, ""}, "overlay": {unix.OVERLAYFS_SUPER_MAGIC, ""}, "ecryptfs": {unix.ECRYPTFS_SUPER_MAGIC, ""},
		"vfat": {unix.MSDOS_SUPER_MAGIC, ""}, "ntfs": {0x5346544e, ""}, "unknown": {1, ""},
	} {
		if got := networkOf(uint32(of.number), 0); got != of.want {
			t.Errorf("%s: %q, want %q", name, got, of.want)
		}
	}
}

// mounts is a list of mounts with local and remote disks of FUSE.
const mounts = `26 1 254:0 / / rw,relatime - ext4 /dev/root rw
40 26 0:35 / /mnt/nas rw,nosuid,nodev,relatime shared:20 master:1 - fuse.sshfs robin@nas:/data rw,user_id=0,group_id=0
41 26 0:36 / /mnt/a\040b rw,relatime shared:21 - fuse.mergerfs a:b rw,user_id=0,group_id=0
42 26 8:17 / /mnt/usb rw,relatime - fuseblk /dev/sdb1 rw,user_id=0,group_id=0
43 26 0:300 / /mnt/gluster rw - fuse.glusterfs gluster:/volume rw
44 26 0:38 / /run/user/1000/doc rw - fuse.portal portal rw
torn
`

func TestDoctorTellsDisksOfFUSEApart(t *testing.T) {
	for dev, want := range map[uint64]string{
		unix.Mkdev(0, 35): "SSHFS", unix.Mkdev(0, 300): "GlusterFS", // over a network
		unix.Mkdev(0, 36): "", unix.Mkdev(8, 17): "", unix.Mkdev(0, 38): "", unix.Mkdev(0, 3): "", unix.Mkdev(0, 99): "",
	} {
		if got := fuseDisks[mountedAs(mounts, dev)]; got != want {
			t.Errorf("%d:%d is %q, want %q", unix.Major(dev), unix.Minor(dev), got, want)
		}
	}
	own, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var proc syscall.Stat_t
	if err := syscall.Stat("/proc", &proc); err != nil {
		t.Fatal(err)
	}
	if got := mountedAs(string(own), proc.Dev); got != "proc" {
		t.Errorf("/proc is mounted as %q", got)
	}
}

// The disks of this machine are asked for real, and are none over a network.
func TestDoctorAsksTheDisk(t *testing.T) {
	for _, path := range []string{t.TempDir(), "/proc", "/dev"} {
		if d, err := diskOf(path); err != nil || d.network != "" || d.id == 0 {
			t.Errorf("%s: %+v, %v", path, d, err)
		}
	}
	if _, err := diskOf("/nowhere"); err == nil {
		t.Error("a disk without a folder")
	}
}
