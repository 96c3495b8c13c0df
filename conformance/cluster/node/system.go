package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// mount gives the machine mounts of its own where its programs write to fixed paths.
func (n Node) mount() error {
	lib, work := filepath.Join(n.state(), "var-lib"), filepath.Join(n.state(), "var-lib-work")
	podLogs := filepath.Join(n.logs(), "pods")
	for _, dir := range []string{n.state(), podLogs} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	if err := run("", "mount", "--make-rprivate", "/"); err != nil {
		return err
	}
	for _, m := range []struct {
		dirs []string // made first, in mounts that are there already
		args []string
	}{
		{nil, []string{"-t", "proc", "proc", "/proc"}},
		{nil, []string{"-t", "tmpfs", "-o", "mode=755", "tmpfs", n.state()}},
		// kubelet passes mounts below its folder on to Pods.
		{nil, []string{"--make-rshared", n.state()}},
		{nil, []string{"-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"}},
		{nil, []string{"-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/log"}},
		// As systemd has it. What is pinned there goes with the machine.
		{nil, []string{"-t", "bpf", "-o", "mode=700", "bpf", "/sys/fs/bpf"}},
		{[]string{"/var/log/pods"}, []string{"--bind", podLogs, "/var/log/pods"}},
		{[]string{lib, work}, []string{"-t", "overlay", "-o", "lowerdir=/var/lib,upperdir=" + lib + ",workdir=" + work, "overlay", "/var/lib"}},
	} {
		for _, dir := range m.dirs {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make folder: %w", err)
			}
		}
		if err := run("", "mount", m.args...); err != nil {
			return err
		}
	}
	return n.coverSettings()
}

// coverSettings keeps kubelet away from settings of the kernel that all machines
// share: what it finds there is what it wants.
func (n Node) coverSettings() error {
	dir := filepath.Join(n.state(), "sysctl")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	for _, s := range []struct{ name, value string }{
		{"vm/overcommit_memory", "1"}, {"vm/panic_on_oom", "0"}, {"kernel/panic", "10"}, {"kernel/panic_on_oops", "1"},
		{"kernel/keys/root_maxkeys", "1000000"}, {"kernel/keys/root_maxbytes", "25000000"},
	} {
		file := filepath.Join(dir, strings.ReplaceAll(s.name, "/", "_"))
		if err := os.WriteFile(file, []byte(s.value+"\n"), 0o644); err != nil {
			return fmt.Errorf("cover kernel setting: %w", err)
		}
		if err := run("", "mount", "--bind", file, "/proc/sys/"+s.name); err != nil {
			return err
		}
	}
	return nil
}

// network makes the node's interface: lan0, a bridge that other nodes can be plugged
// into. The bridge of the Pods is made by its plugin, with the first of them.
func (n Node) network() error {
	if err := os.WriteFile("/proc/sys/kernel/hostname", []byte(n.Name), 0o644); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := run(strings.Join([]string{
		"link set lo up",
		"link add lan0 type bridge",
		"link add plug0 type veth peer name plug1", // gives the bridge a carrier
		"link set plug0 master lan0 up",
		"link set plug1 arp off up", // or it would answer for the node's addresses, as if it were another host
		"address add " + n.Address.String() + " dev lan0",
		"link set lan0 up",
		"route add default dev lan0",
	}, "\n")+"\n", "ip", "-batch", "-"); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("forward packets: %w", err)
	}
	return nil
}

// cgroupRoot is the cgroup that Pods are in; containerd makes the other one, for
// what has none.
const (
	cgroupRoot      = "lintel-cluster"
	containerdGroup = "k8s.io"
)

// hierarchies returns the mounts of cgroups: one of version 2, or one each for a
// controller of version 1, and perhaps version 2 beside them.
func hierarchies() ([]string, error) {
	const base = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(base, "cgroup.controllers")); err == nil {
		return []string{base}, nil
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, fmt.Errorf("list cgroups: %w", err)
	}
	var found []string
	for _, e := range entries {
		if e.IsDir() { // others are links to these
			found = append(found, filepath.Join(base, e.Name()))
		}
	}
	return found, nil
}

func makeCgroups() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		dir := filepath.Join(h, cgroupRoot)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
		if err := setUpCgroup(h, dir); err != nil {
			return fmt.Errorf("set up cgroup: %w", err)
		}
	}
	return nil
}

// setUpCgroup fills in what is empty in a new cgroup of version 1, and lets Pods have
// the time that they want: by default all together would get as much as any single
// program outside.
func setUpCgroup(hierarchy, dir string) error {
	cpus, _ := os.ReadFile(filepath.Join(hierarchy, "cpuset.cpus"))
	memory, _ := os.ReadFile(filepath.Join(hierarchy, "cpuset.mems"))
	for _, f := range []struct {
		name  string
		value []byte
	}{{"cpuset.cpus", cpus}, {"cpuset.mems", memory}, {"cpu.shares", []byte("262144")}, {"cpu.weight", []byte("10000")}} {
		path := filepath.Join(dir, f.name)
		if _, err := os.Stat(path); err != nil || len(f.value) == 0 {
			continue // of another hierarchy
		}
		if err := os.WriteFile(path, f.value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// RemoveCgroups removes what a machine that has ended leaves behind. Its processes
// may still be on their way out.
func RemoveCgroups() error {
	const patience = 10 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := removeCgroups()
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

func removeCgroups() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	var failed error
	for _, h := range all {
		for _, group := range []string{cgroupRoot, containerdGroup} {
			failed = errors.Join(failed, removeCgroup(filepath.Join(h, group)))
		}
	}
	return failed
}

// removeCgroup removes a cgroup from the leaves on: its files can't be removed, and
// needn't be.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list cgroup: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	return nil
}

// run runs a program with an input.
func run(input, name string, args ...string) error {
	cmd := exec.Command(name, args...) //nolint:noctx // these are over at once
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
