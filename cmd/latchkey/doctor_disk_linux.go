package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// networkDisks are file systems over a network, by the numbers of statfs(2). The
// locks that SQLite needs do not hold there.
var networkDisks = map[uint32]string{
	0x6969: "NFS", 0x517b: "SMB", 0xfe534d42: "SMB", 0xff534d42: "CIFS", 0x00c36400: "Ceph", 0x01021997: "9P", 0x5346414f: "AFS", 0x6b414653: "AFS",
	0x0bd00bd0: "Lustre", 0x47504653: "GPFS", 0x7461636f: "OCFS2", 0x73757245: "Coda", 0x19830326: "BeeGFS",
	0x786f4256: "a shared folder of VirtualBox", 0xbacbacbc: "a shared folder of VMware",
}

// fuseNumber is that of everything that a program serves by FUSE, over a network or not:
// what that is stands in the list of mounts.
const fuseNumber = 0x65735546

var fuseDisks = map[string]string{
	"fuse.sshfs": "SSHFS", "fuse.glusterfs": "GlusterFS", "fuse.ceph-fuse": "Ceph", "fuse.rclone": "a disk of rclone", "fuse.s3fs": "a bucket of S3",
	"fuse.smbnetfs": "SMB", "fuse.juicefs": "JuiceFS", "fuse.vmhgfs-fuse": "a shared folder of VMware", "fuse.grpcfuse": "a shared folder of Docker Desktop",
}

// networkOf names a file system over a network; empty: it is none that is known.
func networkOf(number uint32, dev uint64) string {
	if number != fuseNumber {
		return networkDisks[number]
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	return fuseDisks[mountedAs(string(mounts), dev)]
}

// mountedAs is the type of a device in a list of mounts, as proc(5) has it under
// mountinfo; empty: it is not there.
func mountedAs(mounts string, dev uint64) string {
	device := fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev))
	for line := range strings.Lines(mounts) {
		where, what, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(where); len(fields) > 2 && fields[2] == device {
			kind, _, _ := strings.Cut(what, " ")
			return kind
		}
	}
	return ""
}

// diskOf asks the disk that a path is on.
func diskOf(path string) (diskState, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return diskState{}, err
	}
	var there syscall.Stat_t
	if err := syscall.Stat(path, &there); err != nil {
		return diskState{}, err
	}
	return diskState{
		// #nosec G115 -- what a kernel says of its disks
		id: uint64(there.Dev), network: networkOf(uint32(s.Type), uint64(there.Dev)), free: int64(s.Bavail) * int64(s.Bsize), size: int64(s.Blocks) * int64(s.Bsize),
		readOnly: s.Flags&1 != 0, // ST_RDONLY
	}, nil
}

// isWritable asks as the user that runs this.
func isWritable(path string) bool { return syscall.Access(path, 2) == nil } // W_OK

func isInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// becomeOwner has root begin anew as whoever a folder belongs to: what root may do
// says nothing of what the server may. It returns where there is nobody else to be.
func becomeOwner(folder string) {
	info, err := os.Stat(folder)
	if err != nil || os.Geteuid() != 0 {
		return // the first start makes it
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return
	}
	gid, groups := int(owner.Gid), []int{}
	if u, err := user.LookupId(strconv.FormatUint(uint64(owner.Uid), 10)); err == nil {
		gid, _ = strconv.Atoi(u.Gid)
		all, _ := u.GroupIds()
		for _, one := range all {
			if id, err := strconv.Atoi(one); err == nil {
				groups = append(groups, id)
			}
		}
	}
	// A root that may not, as in some containers, is what the server is there too.
	if errors.Join(syscall.Setgroups(groups), syscall.Setgid(gid), syscall.Setuid(int(owner.Uid))) == nil {
		// #nosec G204 G702 -- this program again, as it was called
		_ = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
}
