package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf"
	"github.com/lintel-dev/lintel/bpf/bpftest"
	"github.com/lintel-dev/lintel/bpf/flows"
	"github.com/lintel-dev/lintel/observe"
)

// newFlowEdge returns a node with a cgroup for Lintel, or nil where the test runs in another
// process.
func newFlowEdge(t *testing.T) (e *edge, cgroup string) {
	t.Helper()
	e = newEdge(t)
	if e == nil {
		return nil, ""
	}
	bpftest.Require(t, flows.Needs().Probe())
	bpftest.NothingLeft(t, "lt_flow")
	cgroup = bpftest.Cgroup(t)
	e.must(os.Chmod(cgroup, 0o755)) //nolint:gosec // As cgroups are.
	return e, cgroup
}

// inCgroup starts a process in a cgroup, and as another user if there are capabilities.
func (e *edge) inCgroup(folder string, capabilities ...uintptr) func(*exec.Cmd) {
	e.Helper()
	fd, err := unix.Open(folder, unix.O_PATH|unix.O_CLOEXEC, 0)
	e.must(err)
	e.Cleanup(func() { _ = unix.Close(fd) }) // it was only named
	return func(c *exec.Cmd) {
		if len(capabilities) > 0 {
			asUser(capabilities...)(c)
		}
		c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, fd
	}
}

// observed runs lintel observe.
func (p *program) observed(args ...string) []observe.Record {
	p.Helper()
	var out bytes.Buffer
	root := newRootCommand(new(job))
	root.SetOut(&out)
	root.SetArgs(append([]string{"observe", "--admin-socket=" + p.socket, "-o=json"}, args...))
	p.must(root.ExecuteContext(p.Context()))
	var records []observe.Record
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		var r observe.Record
		p.must(json.Unmarshal(lines.Bytes(), &r))
		records = append(records, r)
	}
	return records
}

// Connections from clients and to endpoints are in one stream with the requests that they
// carried. Three capabilities are enough: the third is for port 80.
func TestConnectionsAreObserved(t *testing.T) {
	e, cgroup := newFlowEdge(t)
	if e == nil {
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to be another user")
	}
	p := e.launch(e.inCgroup(cgroup, unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE), "--flow-records=self", "--upstream-idle-timeout=50ms")
	p.awaitReady()
	const requests = 3
	for range requests {
		e.expect("127.0.0.1:80", "http://app.test/", "http for 127.0.0.1 to port 80")
	}
	untilNil(t, "the connections are observed", func() error {
		in, out := p.observed("--since=1m", "--kind=l4", "--verdict=closed"), p.observed("--since=1m", "--kind=l4", "--namespace=default")
		if len(in) < requests+1 || len(out) < 1 {
			return fmt.Errorf("%d of clients, %d to endpoints", len(in), len(out))
		}
		return nil
	})
	untilNil(t, "the requests are observed", func() error { // one is when its client has the answer
		if l7 := p.observed("--since=1m", "--kind=l7"); len(l7) != requests {
			return fmt.Errorf("%d", len(l7))
		}
		return nil
	})
	clients := 0
	for _, r := range p.observed("--since=1m", "--kind=l4") {
		switch {
		case r.Direction == observe.DirectionIn && r.Destination.Port == 80:
			clients++
			if r.Source.Port == 0 || r.BytesIn == 0 || r.BytesOut == 0 || r.Seconds == 0 || r.Verdict != observe.VerdictClosed {
				t.Errorf("of a client: %+v", r)
			}
		case r.Direction == observe.DirectionOut:
			if r.Destination.Service == "" || r.Destination.Namespace != "default" || r.BytesIn == 0 || r.BytesOut == 0 {
				t.Errorf("to an endpoint: %+v", r)
			}
		}
	}
	if clients != requests {
		t.Errorf("%d connections of clients", clients)
	}
	out, err := e.lintel(e.inCgroup(cgroup), "bpf", "status")
	if err != nil || !strings.Contains(out, "active: connections of "+cgroup+" are recorded") {
		t.Errorf("lintel bpf status says %v\n%s", err, out)
	}
}

// lintel runs a command to its end.
func (e *edge) lintel(how func(*exec.Cmd), args ...string) (string, error) {
	cmd := exec.CommandContext(e.Context(), "/proc/self/exe")
	cmd.Args, cmd.SysProcAttr = append([]string{"lintel"}, args...), &syscall.SysProcAttr{}
	how(cmd)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Where connections can't be recorded, that is said, and requests are.
func TestConnectionsThatCannotBeRecorded(t *testing.T) {
	e, cgroup := newFlowEdge(t)
	if e == nil {
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to be another user")
	}
	root, err := bpf.NodeCgroup()
	e.must(err)
	self, err := os.Executable()
	e.must(err)
	hidden := func(c *exec.Cmd) { // where cgroup v2 was is something else
		script := `mount -t tmpfs none "$0" && mount -t tmpfs -o ro none /run && exec -a lintel "$@"`
		c.Path, c.Args = "/usr/bin/unshare", append([]string{"unshare", "--mount", "bash", "-c", script, root, self}, c.Args[1:]...)
	}
	for _, test := range []struct {
		how func(*exec.Cmd)
		why string
	}{
		{e.inCgroup(cgroup, unix.CAP_NET_BIND_SERVICE), "unavailable because this process does not have CAP_BPF"},
		{hidden, "cgroup v2 is not mounted"},
	} {
		// The admin socket of a read-only /run is in the test's folder.
		p := e.launch(test.how, "--flow-records=self")
		p.awaitReady()
		e.expect("127.0.0.1:80", "http://app.test/", "http for 127.0.0.1 to port 80")
		untilNil(t, "the request is observed", func() error {
			if len(p.observed("--since=1m", "--kind=l7")) != 1 {
				return errors.New("it is not")
			}
			return nil
		})
		if log := p.log.String(); !strings.Contains(log, "connections are not recorded; requests are") || !strings.Contains(log, test.why) {
			t.Errorf("the log does not say why: %q\n%s", test.why, log)
		}
		if l4 := p.observed("--since=1m", "--kind=l4"); len(l4) != 0 {
			t.Errorf("got %+v", l4)
		}
		p.stop()
	}
}
