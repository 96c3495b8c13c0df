// Package machine gives programs a machine of their own made of Linux namespaces:
// processes, mounts, network, host name and IPC that others don't see, and that all
// end with one process.
//
// It needs root, and nsenter of util-linux.
package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNotRunning says that there is no machine.
var ErrNotRunning = errors.New("the machine is not running")

// A killed machine is gone when the kernel has ended all its processes.
const (
	endTimeout = 30 * time.Second
	endPoll    = 10 * time.Millisecond
	killDelay  = 10 * time.Second
)

// Machine is a running machine.
type Machine struct {
	dir string
	pid int // of its first process, as seen from outside
}

// Start starts a machine whose files are in dir. Its first process is the program
// at path, which must reap what others leave to it, and must not end by itself.
// Whoever runs something in it finds the files of this machine, and no network.
func Start(dir, path string) (*Machine, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("start machine: only root can make namespaces")
	}
	cmd := exec.Command(path, dir) //nolint:noctx // it outlives its start, and ends with Stop
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start machine: %w", err)
	}
	m := &Machine{dir: dir, pid: cmd.Process.Pid}
	if err := os.WriteFile(m.pidFile(), []byte(strconv.Itoa(m.pid)), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("write process id: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	if err := cmd.Process.Release(); err != nil {
		return nil, fmt.Errorf("release first process: %w", err)
	}
	return m, nil
}

// Open returns the machine that runs in dir, or ErrNotRunning.
func Open(dir string) (*Machine, error) {
	m := &Machine{dir: dir}
	content, err := os.ReadFile(m.pidFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("read process id: %w", err)
	}
	if m.pid, err = strconv.Atoi(string(content)); err != nil {
		return nil, fmt.Errorf("read process id: %w", err)
	}
	if !m.running() {
		return nil, ErrNotRunning
	}
	return m, nil
}

func (m *Machine) pidFile() string { return filepath.Join(m.dir, "pid") }

// running is false too when another program has got the process's id: ours has dir
// among its arguments.
func (m *Machine) running() bool {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(m.pid), "cmdline"))
	return err == nil && slices.Contains(strings.Split(string(content), "\x00"), m.dir)
}

// Args returns the command line that runs another one in the machine, in the
// current working directory. Who ends it alone does not end the other one.
func (m *Machine) Args(args ...string) []string { return m.enter(`cd "$0" && exec "$@"`, args) }

// Command prepares to run something in the machine, in a session of its own that
// gets SIGTERM when ctx ends, and SIGKILL some time later. Where the kernel shares
// out time between sessions, this one gets more than others (sched(7), autogroup):
// requests to a control plane time out beside compilers.
func (m *Machine) Command(ctx context.Context, args ...string) *exec.Cmd {
	line := m.enter(`{ echo -10 >/proc/self/autogroup; } 2>/dev/null; cd "$0" && exec "$@"`, args)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	return cmd
}

// enter runs a script in the machine, whose $0 is the working directory and whose
// arguments are args.
func (m *Machine) enter(script string, args []string) []string {
	wd, err := os.Getwd()
	if err != nil {
		wd = "/"
	}
	return append([]string{
		"nsenter", "--target", strconv.Itoa(m.pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--",
		"/bin/sh", "-c", script, wd,
	}, args...)
}

// Stop ends the machine and everything that runs in it.
func (m *Machine) Stop() error {
	if err := syscall.Kill(m.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end machine: %w", err)
	}
	for deadline := time.Now().Add(endTimeout); m.running(); time.Sleep(endPoll) {
		if time.Now().After(deadline) {
			return errors.New("end machine: its first process is still there")
		}
	}
	return nil
}
