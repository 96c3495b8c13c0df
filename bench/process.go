package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The cores: the proxy has one for itself, all that feeds it shares the other.
const (
	proxyCore = 0
	loadCore  = 1
)

// endPatience is how long a process gets to end by itself. Lintel drains, nginx
// ends its worker.
const endPatience = 2 * time.Second

// process is a program that runs in a process group of its own, pinned to a core.
type process struct {
	name string
	log  string // path of what it writes
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startProcess starts a program whose output goes to a file in dir. The program
// ends with this one, however that ends.
func startProcess(name, dir string, core int, command []string) (*process, error) {
	path := filepath.Join(dir, name+".log")
	out, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create log of %s: %w", name, err)
	}
	defer out.Close()
	cmd := exec.Command("taskset", append([]string{"-c", strconv.Itoa(core)}, command...)...) //nolint:noctx // it ends with stop
	cmd.Stdout, cmd.Stderr = out, out
	// SIGTERM and not SIGKILL: nginx's master has to end its worker.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, log: path, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended stands in its log
	}()
	return p, nil
}

// stop ends the process and all that it started.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.done:
	case <-time.After(endPatience):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// ended tells whether the process is gone although nobody asked it to.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// tail returns the end of the log, for an error message.
func (p *process) tail() string {
	const most = 1500
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

// A process has settled when it twice needed less than a hundredth of a core.
const (
	settleWindow  = 250 * time.Millisecond
	settledBelow  = settleWindow / 100
	settleWindows = 2
)

// settle waits until the process has done what it does after its start, such as
// reading 5,000 routes, and reports an error when that never ends.
func (p *process) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(settleWindow)
	defer tick.Stop()
	last, quiet := time.Duration(0), -1 // the first look has nothing to compare with
	for {
		pids, err := p.tree()
		if err != nil {
			return err
		}
		used, err := cpuTime(pids)
		if err != nil {
			return err
		}
		if used-last < settledBelow {
			quiet++
		} else {
			quiet = 0
		}
		if quiet >= settleWindows {
			return nil
		}
		last = used
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s does nothing: %w", p.name, ctx.Err())
		case <-tick.C:
		}
	}
}

// tree returns the process ids of the process and its descendants, itself first.
func (p *process) tree() ([]int, error) {
	pids := []int{p.cmd.Process.Pid}
	for i := 0; i < len(pids); i++ {
		paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		if err != nil || len(paths) == 0 {
			return nil, fmt.Errorf("%s has ended: %s", p.name, p.tail())
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // a thread that has ended
			}
			for _, field := range strings.Fields(string(text)) {
				pid, err := strconv.Atoi(field)
				if err != nil {
					return nil, fmt.Errorf("read %s: %w", path, err)
				}
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// output runs a program on the core of the load and returns what it printed on
// standard output. Whatever the program says on standard error is in the error.
func output(ctx context.Context, command []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", strconv.Itoa(loadCore)}, command...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("run %s: %w: %s", filepath.Base(command[0]), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}
