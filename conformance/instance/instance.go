// Package instance runs the lintel program in tests, with manifests.
package instance

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"syscall"
	"testing"
	"time"

	programs "github.com/lintel-dev/lintel/conformance/process"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 40 * time.Second // longer than lintel drains
	readyPoll    = 10 * time.Millisecond
)

// Instance is a running lintel.
type Instance struct {
	process *exec.Cmd
	admin   string
	log     bytes.Buffer
	exited  chan struct{}
	err     error // of the process, once exited is closed
	stopped bool
}

// Start runs the program at path with the manifests of a folder, and returns when it is
// ready. It listens on nothing but what the manifests say. At the end of the test it is
// stopped as Stop does, and if the test failed its log is shown.
func Start(t testing.TB, path, folder string, flags ...string) *Instance {
	t.Helper()
	admin := FreeAddress(t)
	i := &Instance{admin: admin, exited: make(chan struct{})}
	i.process = exec.Command(path, append([]string{"run", "--manifests", folder, "--admin-address", admin,
		"--http-port", "0", "--https-port", "0", "--access-log", "off"}, flags...)...)
	i.process.Stderr = &i.log
	if err := i.process.Start(); err != nil {
		t.Fatalf("start lintel (make build first): %v", err)
	}
	go func() {
		i.err = i.process.Wait()
		close(i.exited)
	}()
	t.Cleanup(func() {
		i.Stop(t)
		if t.Failed() {
			t.Logf("lintel said:\n%s", &i.log)
		}
	})
	i.awaitReady(t, "http://"+admin+"/readyz")
	return i
}

func (i *Instance) awaitReady(t testing.TB, url string) {
	t.Helper()
	deadline := time.After(startTimeout)
	for {
		if response, err := http.Get(url); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-i.exited:
			t.Fatalf("lintel exited: %v", i.err)
		case <-deadline:
			t.Fatal("lintel is not ready")
		case <-time.After(readyPoll):
		}
	}
}

// Exited is closed when the process has ended.
func (i *Instance) Exited() <-chan struct{} { return i.exited }

// Stop ends lintel as Kubernetes would, and expects the exit code 0: every connection has
// to be gone by then. Calls after the first do nothing.
func (i *Instance) Stop(t testing.TB) {
	t.Helper()
	if i.stopped {
		return
	}
	i.stopped = true
	_ = i.process.Process.Signal(syscall.SIGTERM) // one that is gone already has its exit code
	select {
	case <-i.exited:
	case <-time.After(stopTimeout):
		t.Error("lintel does not exit")
		_ = i.process.Process.Kill()
		<-i.exited
	}
	if i.err != nil {
		t.Errorf("lintel exited: %v", i.err)
	}
}

// FreeAddress returns a loopback address with a port that nobody has just now.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ports, err := programs.FreePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0])
}

// Admin is the address of /metrics and the like.
func (i *Instance) Admin() string { return i.admin }
