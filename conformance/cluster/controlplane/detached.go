package controlplane

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/conformance/process"
)

// pidFile lists the processes of a detached control plane, one "PID NAME" a line.
const pidFile = "pids"

// A killed process is gone soon; its files are removed after it.
const (
	endTimeout = 10 * time.Second
	endPoll    = 10 * time.Millisecond
)

func writePids(dir string, processes []*process.Process) error {
	var b strings.Builder
	for _, p := range processes {
		fmt.Fprintln(&b, p.ID(), p.Name())
	}
	if err := os.WriteFile(filepath.Join(dir, pidFile), []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("write process ids: %w", err)
	}
	return nil
}

// StopDir ends the control plane that runs with Options.Dir dir, and removes the
// folder. Nothing running there is not an error.
func StopDir(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, pidFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read process ids: %w", err)
	}
	for line := range strings.Lines(string(content)) {
		if err := endProcess(dir, strings.TrimSpace(line)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove files: %w", err)
	}
	return nil
}

// endProcess ends a process of the pid file, unless its id belongs to another
// program by now: ours has dir in its arguments.
func endProcess(dir, line string) error {
	id, _, _ := strings.Cut(line, " ")
	pid, err := strconv.Atoi(id)
	if err != nil {
		return fmt.Errorf("read process id %q: %w", line, err)
	}
	running := func() bool { // a process that ended, but was not waited for, has no arguments
		args, err := os.ReadFile(filepath.Join("/proc", id, "cmdline"))
		return err == nil && strings.Contains(string(args), dir)
	}
	if !running() {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end %s: %w", line, err)
	}
	for deadline := time.Now().Add(endTimeout); running(); time.Sleep(endPoll) {
		if time.Now().After(deadline) {
			return fmt.Errorf("end %s: still there", line)
		}
	}
	return nil
}
