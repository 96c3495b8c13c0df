// Package process runs the programs that tests need, and ends them.
package process

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
)

// Program is what Start starts.
type Program struct {
	Name   string // for messages
	Path   string
	Args   []string
	Env    []string // beside the environment of this process, as KEY=VALUE
	Log    string   // path of the file that takes all output; it is emptied first
	Attach Attachment
}

// Attachment says what becomes of a process when the one who started it ends.
type Attachment int

const (
	// Attached processes end too, even if the other was killed (Linux).
	Attached Attachment = iota
	// Detached processes stay.
	Detached
)

// Process is a running program.
type Process struct {
	program Program
	cmd     *exec.Cmd
	done    chan struct{} // closed when it has ended
}

// Start runs a program in a process group of its own, so that an interrupt at the
// terminal reaches only the one who started it, who then ends it with Stop.
func Start(p Program) (*Process, error) {
	out, err := os.Create(p.Log)
	if err != nil {
		return nil, fmt.Errorf("create log of %s: %w", p.Name, err)
	}
	defer out.Close()
	cmd := exec.Command(p.Path, p.Args...) //nolint:noctx // it outlives its start, and ends with Stop
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.SysProcAttr = p.Attach.attributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	started := &Process{program: p, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(started.done)
		_ = cmd.Wait() // how it ended stands in its log
	}()
	return started, nil
}

// Name returns Program.Name.
func (p *Process) Name() string { return p.program.Name }

// ID returns the process id.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Failure describes an end that nobody wanted.
func (p *Process) Failure() error {
	return fmt.Errorf("%s ended:\n%s", p.program.Name, binary.Tail(p.program.Log))
}

// Stop ends the process at once: its data is thrown away.
func (p *Process) Stop() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}
