package bpf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ownCgroupMount is where we mount the hierarchy of cgroup v2 on machines where nobody
// has, and ownCgroupName the group that Lintel puts itself into when it was in the root.
const (
	ownCgroupMount = "/run/lintel-cgroup2"
	ownCgroupName  = "lintel"
)

// NodeCgroup returns the folder of the outermost cgroup v2 that we can see: on the node
// itself the root of all, in a container that of the mount that reaches up farthest,
// which is the node's if its /sys/fs/cgroup was mounted into the container. Where the
// hierarchy is not mounted (cgroup v1) it is mounted. Errors wrap ErrUnavailable.
func NodeCgroup() (string, error) {
	mounts, err := cgroupMounts()
	if err != nil {
		return "", err
	}
	return outermost(mounts).point, nil
}

// OwnCgroup returns the folder of the cgroup v2 that this process is in. A process in the
// root, where everybody is on machines with cgroup v1, is put into a group of its own
// first. Errors wrap ErrUnavailable.
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
	if _, err := os.Stat(filepath.Join(folder, "cgroup.type")); err == nil {
		return folder, nil
	}
	own := filepath.Join(folder, ownCgroupName)
	if err := os.Mkdir(own, 0o755); err != nil && !os.IsExist(err) {
		return "", Unavailable("this process is in the root cgroup, and can't make one of its own: %w", err)
	}
	if err := os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("0"), 0); err != nil {
		return "", Unavailable("this process is in the root cgroup, and can't move to one of its own: %w", err)
	}
	return own, nil
}

// cgroupMounts returns where cgroup v2 is mounted: one of them at least.
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
	if len(mounts) > 0 {
		return mounts, nil
	}
	if err := mountFilesystem("cgroup2", ownCgroupMount); err != nil {
		return nil, Unavailable("cgroup v2 is not mounted, and can't be: %w", err)
	}
	return []mount{{root: "/", point: ownCgroupMount, filesystem: "cgroup2"}}, nil
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
	return "", Unavailable("our cgroup %s is below none of the mounts of cgroup v2%s", own, list(mounts))
}

func list(mounts []mount) string {
	var b strings.Builder
	for _, m := range mounts {
		fmt.Fprintf(&b, " %s", m.point)
	}
	return b.String()
}
