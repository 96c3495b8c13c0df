package bpf

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// effectiveCapabilities returns those of the calling thread, a bit each.
func effectiveCapabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return 0, err
	}
	return uint64(sets[1].Effective)<<32 | uint64(sets[0].Effective), nil
}

// mountFilesystem mounts a file system that has no device on a folder, which it makes if
// its parent is there.
func mountFilesystem(kind, folder string) error {
	if err := os.Mkdir(folder, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	if err := unix.Mount(kind, folder, kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", kind, folder, err)
	}
	return nil
}

// isFilesystem tells whether path is on a file system of this type (statfs(2)).
func isFilesystem(path string, magic int64) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && int64(stat.Type) == magic //nolint:unconvert // it is narrower on other machines
}

// LiftLockedMemory takes away this process's limit of locked memory, if it may: kernels
// before 5.11 count maps against it. Others have no use for it.
func LiftLockedMemory() {
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
}

// lock takes the lock of a folder, unless another process has it.
func lock(folder *os.File) (bool, error) {
	err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

const (
	magicBPF     = unix.BPF_FS_MAGIC
	magicCgroup2 = unix.CGROUP2_SUPER_MAGIC
)
