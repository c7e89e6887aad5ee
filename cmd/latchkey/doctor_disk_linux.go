package main

import (
	"errors"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// networkDisks are file systems over a network, by the numbers of statfs(2). The
// locks that SQLite needs do not hold there.
var networkDisks = map[uint32]string{
	0x6969: "NFS", 0x517b: "SMB", 0xfe534d42: "SMB", 0xff534d42: "CIFS", 0x00c36400: "Ceph", 0x01021997: "9P", 0x5346414f: "AFS",
	0x0bd00bd0: "Lustre", 0x47504653: "GPFS", 0x7461636f: "OCFS2", 0x786f4256: "a shared folder of VirtualBox",
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
		id: uint64(there.Dev), network: networkDisks[uint32(s.Type)], free: int64(s.Bavail) * int64(s.Bsize), size: int64(s.Blocks) * int64(s.Bsize),
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
