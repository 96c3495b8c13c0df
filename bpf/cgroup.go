package bpf

import (
	"os"
	"path/filepath"
	"strings"
)

// ownCgroupMount is where we mount the hierarchy of cgroup v2 on machines where nobody
// has.
const ownCgroupMount = "/run/lintel-cgroup2"

// NodeCgroup returns the folder of the outermost cgroup v2 that we can see: on the node
// itself the root of all, in a container that of the mount that reaches up farthest,
// which is the node's if its /sys/fs/cgroup was mounted into the container. Where the
// hierarchy is not mounted (cgroup v1) it is mounted. Errors wrap ErrUnavailable.
func NodeCgroup() (string, error) {
	mounts, err := cgroupMounts()
	if err != nil {
		return "", err
	}
	if len(mounts) > 0 {
		return outermost(mounts).point, nil
	}
	if err := mountFilesystem("cgroup2", ownCgroupMount); err != nil {
		return "", Unavailable("cgroup v2 is not mounted, and can't be: %w", err)
	}
	return ownCgroupMount, nil
}

// OwnCgroup returns the folder of the cgroup v2 that this process is in, if that is not
// the root, where everybody is on machines with cgroup v1. Errors wrap ErrUnavailable.
func OwnCgroup() (string, error) {
	mounts, err := cgroupMounts()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", Unavailable("our cgroup can't be read: %w", err)
	}
	folder, err := ownFolder(mounts, string(text))
	if err != nil {
		return "", err
	}
	// The root alone has no type (cgroups(7)).
	if _, err := os.Stat(filepath.Join(folder, "cgroup.type")); err != nil {
		return "", Unavailable("this process is not in a cgroup v2 of its own, but in the root with everybody else")
	}
	return folder, nil
}

// cgroupMounts returns where cgroup v2 is mounted.
func cgroupMounts() ([]mount, error) {
	all, err := readMounts()
	if err != nil {
		return nil, Unavailable("mounts can't be read: %w", err)
	}
	var mounts []mount
	for _, m := range all {
		// What is mounted over it later hides it.
		if m.filesystem == "cgroup2" && isFilesystem(m.point, magicCgroup2) {
			mounts = append(mounts, m)
		}
	}
	return mounts, nil
}

// outermost returns the mount whose root is highest.
func outermost(mounts []mount) mount {
	best := mounts[0]
	for _, m := range mounts[1:] {
		if height(m.root) > height(best.root) {
			best = m
		}
	}
	return best
}

// height of the root of a mount: 0 is that of our cgroup namespace, more is above it, and
// less below.
func height(root string) int {
	up, down := 0, 0
	for part := range strings.SplitSeq(strings.Trim(root, "/"), "/") {
		switch part {
		case "..":
			up++
		case "":
		default:
			down++
		}
	}
	return up - down
}

// ownFolder returns where our group is below one of the mounts. cgroups is
// /proc/self/cgroup.
func ownFolder(mounts []mount, cgroups string) (string, error) {
	own := ""
	for line := range strings.Lines(cgroups) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			own = path
		}
	}
	if own == "" {
		return "", Unavailable("the kernel has no cgroup v2")
	}
	for _, m := range mounts {
		if strings.HasPrefix(m.root, "/..") {
			continue // its folders between it and us have names that we can't see
		}
		relative, err := filepath.Rel(m.root, own)
		if err == nil && relative != ".." && !strings.HasPrefix(relative, "../") {
			return filepath.Join(m.point, relative), nil
		}
	}
	return "", Unavailable("cgroup v2 is not mounted where our cgroup %s is", own)
}
