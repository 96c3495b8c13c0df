package controlplane

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
)

// process is a running program whose output goes to a file.
type process struct {
	name string
	log  string // path
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start runs a program in a process group of its own, so that an interrupt at the
// terminal reaches only the one who started it, who then ends it.
func start(name, path, log string, attach attachment, args ...string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("create log of %s: %w", name, err)
	}
	defer out.Close()
	cmd := exec.Command(path, args...) //nolint:noctx // it outlives its start, and ends with stop
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = attach.attributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // how it ended stands in its log
	}()
	return p, nil
}

// failure describes an end that nobody wanted.
func (p *process) failure() error {
	return fmt.Errorf("%s ended:\n%s", p.name, binary.Tail(p.log))
}

// stop ends the process at once: its data is thrown away.
func (p *process) stop() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// attachment says what becomes of processes when the one who started them ends.
type attachment int

const (
	attached attachment = iota // they end too, even if it was killed (Linux)
	detached
)
