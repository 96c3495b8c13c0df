package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serviceManager is systemd, as far as a service of Type=notify knows it.
type serviceManager struct {
	*edge
	conn *net.UnixConn
	path string
}

func (e *edge) manageServices() *serviceManager {
	e.Helper()
	path := filepath.Join(e.folder, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	e.must(err)
	e.Cleanup(func() { conn.Close() })
	// Whose parent has ended is ours.
	e.must(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	return &serviceManager{edge: e, conn: conn, path: path}
}

// start starts a service of Type=notify, and returns when it is ready.
func (m *serviceManager) start(flags ...string) *program {
	m.Helper()
	p := m.launch(func(c *exec.Cmd) { c.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.path) }, flags...)
	if got := m.heard(); got != "READY=1" {
		m.Fatalf("lintel says %q", got)
	}
	return p
}

func (m *serviceManager) heard() string {
	m.Helper()
	_ = m.conn.SetReadDeadline(time.Now().Add(testTimeout))
	buf := make([]byte, 256)
	n, err := m.conn.Read(buf)
	m.must(err)
	return string(buf[:n])
}

// reload is `systemctl reload` with ExecReload=kill -USR2 $MAINPID, of a process that is
// the manager's own child; what it returns is the new one.
func (m *serviceManager) reload(pid int) int {
	m.Helper()
	m.must(syscall.Kill(pid, syscall.SIGUSR2))
	text, found := strings.CutPrefix(m.heard(), "MAINPID=")
	next, err := strconv.Atoi(text)
	if !found || err != nil {
		m.Fatalf("lintel says %q", text)
	}
	return next
}

// awaitEnd waits for a process to end well.
func (m *serviceManager) awaitEnd(pid int) {
	m.Helper()
	var status unix.WaitStatus
	_, err := unix.Wait4(pid, &status, 0, nil)
	for errors.Is(err, unix.EINTR) {
		_, err = unix.Wait4(pid, &status, 0, nil)
	}
	m.must(err)
	if status.ExitStatus() != 0 {
		m.Errorf("lintel %d ended with %v", pid, status)
	}
}

// Ten times Lintel upgrades itself under load, over connections that are kept and new ones.
// Nothing fails.
func TestUpgradesItself(t *testing.T) {
	e := newEdge(t)
	if e == nil {
		return
	}
	m := e.manageServices()
	first := m.start(skLookup, "--share-sockets=on")
	first.stopped = true // it is waited for here
	endLoad := e.load()
	pid := first.process.Process.Pid
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	})
	for range 10 {
		next := m.reload(pid)
		m.awaitEnd(pid)
		pid = next
		if text, err := first.readyz(); err != nil || text != "ok\n" { // the same path
			t.Errorf("ready says %q, %v", text, err)
		}
	}
	endLoad()
	e.must(syscall.Kill(pid, syscall.SIGTERM))
	m.awaitEnd(pid)
	if _, err := os.Lstat(first.socket); !os.IsNotExist(err) {
		t.Errorf("the admin socket is left behind: %v", err)
	}
}

// A Lintel that can't be followed goes on, and says why.
func TestUpgradesThatFail(t *testing.T) {
	e := newEdge(t)
	if e == nil {
		return
	}
	alone := e.start()
	e.must(alone.process.Process.Signal(syscall.SIGUSR2))
	untilNil(t, "it says what is missing", alone.says("it needs share-sockets=on"))
	alone.stop()

	settings := filepath.Join(e.folder, "lintel.yaml")
	e.must(os.WriteFile(settings, []byte("shareSockets: on\n"), 0o600))
	p := e.start("--config=" + settings)
	e.must(os.WriteFile(settings, []byte("shareSokets: on\n"), 0o600))
	e.must(p.process.Process.Signal(syscall.SIGUSR2))
	untilNil(t, "it says that the new one has ended", p.says("the new program has ended"))
	untilNil(t, "the new one has said why", p.says("shareSokets"))
	e.expect("127.0.0.1:80", "http://app.test/", "http for 127.0.0.1 to port 80")
}

func (p *program) says(words string) func() error {
	return func() error {
		if !strings.Contains(p.log.String(), words) {
			return errors.New("it does not")
		}
		return nil
	}
}
