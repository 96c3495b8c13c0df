package bpftest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf"
)

// Namespace puts the test's goroutine, on a thread that nothing else will use, into a
// network namespace of its own, whose lo is up. Sockets of it have to be made on this
// goroutine, with system calls: the net package may dial on others. It ends with the test.
func Namespace(t testing.TB) {
	t.Helper()
	// A thread that is still locked when its goroutine ends goes with it, and the
	// namespace with the thread.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		Require(t, fmt.Errorf("make a network namespace: %w", err))
	}
	RaiseLoopback(t)
}

// RaiseLoopback turns lo on in the calling thread's network namespace.
func RaiseLoopback(t testing.TB) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(socket) }() // it was only asked through
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatalf("raise lo: %v", err)
	}
}

// Cgroup makes a cgroup below the machine's outermost one, and returns its folder. It must
// be empty when the test ends: its processes have ended, or have left it.
func Cgroup(t testing.TB) string {
	t.Helper()
	root, err := bpf.NodeCgroup()
	Require(t, err)
	folder, err := os.MkdirTemp(root, "lintel-test-")
	if err != nil {
		Require(t, err)
	}
	t.Cleanup(func() {
		if err := os.Remove(folder); err != nil {
			t.Errorf("a cgroup is left behind: %v", err)
		}
	})
	return folder
}

// Enter puts this process into a cgroup until the test ends, and then back to where it
// was.
func Enter(t testing.TB, folder string) {
	t.Helper()
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	root, err := bpf.NodeCgroup()
	if err != nil {
		t.Fatal(err)
	}
	was := root
	for line := range strings.Lines(string(before)) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			was = filepath.Join(root, path)
		}
	}
	move := func(to string) {
		if err := os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte("0"), 0); err != nil {
			t.Errorf("enter a cgroup: %v", err)
		}
	}
	move(folder)
	t.Cleanup(func() { move(was) })
}

// Pins mounts a bpffs of the test's own, and returns the folder of a feature on it. The
// test has to leave it empty.
func Pins(t testing.TB, feature string) bpf.Pins {
	t.Helper()
	root := t.TempDir()
	if err := unix.Mount("bpf", root, "bpf", 0, ""); err != nil {
		Require(t, fmt.Errorf("mount bpffs: %w", err))
	}
	t.Cleanup(func() {
		left := []string{}
		_ = filepath.WalkDir(filepath.Join(root, "lintel"), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				left = append(left, path)
			}
			return nil
		})
		if len(left) > 0 {
			t.Errorf("pins are left behind: %v", left)
		}
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount bpffs: %v", err)
		}
	})
	pins, err := bpf.PinsIn(filepath.Join(root, "lintel"), feature)
	if err != nil {
		t.Fatal(err)
	}
	return pins
}

// NothingLeft fails the test if, at its end, the kernel has programs or maps whose names
// begin with prefix that it did not have before, and that no other process has. It has to
// be called before what makes them. Tests of other processes with the same prefix wait for
// each other, as all see the same kernel.
func NothingLeft(t testing.TB, prefix string) {
	t.Helper()
	takeTurns(t, prefix)
	before := loaded(t, prefix)
	t.Cleanup(func() {
		// The kernel frees what nobody holds after a grace period.
		var left []string
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			left = left[:0]
			now := loaded(t, prefix)
			maps.DeleteFunc(now, func(id, _ string) bool { return before[id] != "" })
			if len(now) > 0 {
				others := heldByOthers()
				maps.DeleteFunc(now, func(id, _ string) bool { return others[id] })
			}
			for id, name := range now {
				left = append(left, name+", "+id)
			}
			if len(left) == 0 {
				return
			}
		}
		t.Errorf("programs or maps are left behind: %v", left)
	})
}

// takeTurns returns when no other process is between this and the end of its test.
func takeTurns(t testing.TB, what string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(os.TempDir(), "lintel-bpftest-"+what), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX) //nolint:gosec // a descriptor
	}
	if err != nil {
		t.Fatalf("lock %s: %v", file.Name(), err)
	}
	t.Cleanup(func() { _ = file.Close() }) // and so the lock
}

// heldByOthers returns the programs and maps that other processes have descriptors of, or
// of what they are attached by: in other tests, that do not look, Lintel may attach some.
func heldByOthers() map[string]bool {
	held := make(map[string]bool)
	files, _ := filepath.Glob("/proc/[0-9]*/fdinfo/*") // processes come and go
	own := fmt.Sprintf("/proc/%d/", os.Getpid())
	for _, file := range files {
		if strings.HasPrefix(file, own) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			switch key, id, _ := strings.Cut(strings.TrimSpace(line), ":"); key {
			case "prog_id":
				held["program "+strings.TrimSpace(id)] = true
			case "map_id":
				held["map "+strings.TrimSpace(id)] = true
			}
		}
	}
	return held
}

// loaded returns programs and maps by their kind and ID.
func loaded(t testing.TB, prefix string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			checkEnd(t, err)
			break
		}
		id = next
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // it ended meanwhile
		}
		if info, err := program.Info(); err == nil && strings.HasPrefix(info.Name, prefix) {
			found[fmt.Sprint("program ", id)] = info.Name
		}
		_ = program.Close() // it was only read
	}
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if err != nil {
			checkEnd(t, err)
			break
		}
		id = next
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue
		}
		if info, err := m.Info(); err == nil && strings.HasPrefix(info.Name, prefix) {
			found[fmt.Sprint("map ", id)] = info.Name
		}
		_ = m.Close() // it was only read
	}
	return found
}

func checkEnd(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, os.ErrNotExist) {
		Require(t, fmt.Errorf("list programs: %w", err))
	}
}
