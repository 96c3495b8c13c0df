package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lintel-dev/lintel/internal/succession"
)

// startAdmin returns the base URL of an admin server and what stops it, which
// reports the error of Run.
func startAdmin(t *testing.T, o adminOptions) (url string, stop func() error) {
	t.Helper()
	o.Network, o.Address = "tcp", "127.0.0.1:0"
	o.Log = slog.New(slog.DiscardHandler)
	a, err := newAdmin(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(cancel)
	return "http://" + a.Addr().String(), func() error { cancel(); return <-done }
}

func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestReadinessFollowsSyncAndDrain(t *testing.T) {
	var ready readiness
	url, stop := startAdmin(t, adminOptions{Readiness: &ready, Metrics: http.NotFoundHandler()})
	for _, step := range []struct {
		name   string
		do     func()
		status int
		body   string
	}{
		{"start", func() {}, 503, "waiting for the first sync\n"},
		{"no sockets wanted", func() { ready.set(nil) }, 200, "ok\n"},
		{"one socket fails", func() {
			ready.set(map[string]error{":80": nil, ":443": errors.New("open socket: address already in use")})
		}, 200, "ok\nsocket :443: open socket: address already in use\n"},
		{"every socket fails", func() {
			ready.set(map[string]error{":80": errors.New("open socket: permission denied")})
		}, 503, "no socket could be opened\nsocket :80: open socket: permission denied\n"},
		{"who has the socket ends when we are ready", func() {
			ready.set(map[string]error{":80": fmt.Errorf("open socket: %w: 65532, and we are of 0", succession.ErrOtherUser)})
		}, 200, "ok\nsocket :80: open socket: it is kept, until it ends, by a process of another user: 65532, and we are of 0\n"},
		{"drain", ready.drain, 503, "draining\n"},
		{"a late sync does not end the drain", func() { ready.set(nil) }, 503, "draining\n"},
	} {
		step.do()
		if status, body := fetch(t, url+"/readyz"); status != step.status || body != step.body {
			t.Errorf("%s: got %d %q; want %d %q", step.name, status, body, step.status, step.body)
		}
		if status, body := fetch(t, url+"/healthz"); status != 200 || body != "ok\n" {
			t.Errorf("%s: /healthz is %d %q", step.name, status, body)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestAdminServesMetricsAndNothingElse(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "metrics") })
	url, stop := startAdmin(t, adminOptions{Readiness: new(readiness), Metrics: metrics})
	defer func() { _ = stop() }()
	if status, body := fetch(t, url+"/metrics"); status != 200 || body != "metrics" {
		t.Errorf("/metrics: %d %q", status, body)
	}
	for _, path := range []string{"/", "/metrics/x", "/debug/pprof/"} {
		if status, _ := fetch(t, url+path); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// A client that holds its connection open does not hold up the end.
func TestAdminStopsWithAClientConnected(t *testing.T) {
	url, stop := startAdmin(t, adminOptions{Readiness: new(readiness), Metrics: http.NotFoundHandler()})
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n") // no end of the head
	start := time.Now()
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(start); took > 5*adminShutdownTimeout {
		t.Errorf("it took %v to stop", took)
	}
	if _, err := bufio.NewReader(conn).ReadByte(); err == nil {
		t.Error("the connection is still served")
	}
}

func TestAdminAddressThatIsTaken(t *testing.T) {
	url, stop := startAdmin(t, adminOptions{Readiness: new(readiness), Metrics: http.NotFoundHandler()})
	defer func() { _ = stop() }()
	address := strings.TrimPrefix(url, "http://")
	_, err := newAdmin(adminOptions{Network: "tcp", Address: address, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "open admin address: listen tcp "+address) {
		t.Errorf("got %v", err)
	}
}

// Who waits for the address to be free serves clients already: whatever fails then is tried again. What
// fails at the start is told.
func TestAdminTurnIsAwaitedWhateverFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := adminOptions{Log: slog.New(slog.DiscardHandler)}
		failures := []error{syscall.EADDRINUSE, syscall.EMFILE, syscall.ENOBUFS, syscall.EADDRINUSE}
		opened := new(admin)
		a, err := o.awaitTurn(t.Context(), func(adminOptions) (*admin, error) {
			if len(failures) == 0 {
				return opened, nil
			}
			err := failures[0]
			failures = failures[1:]
			return nil, err
		})
		if a != opened || err != nil {
			t.Errorf("opened %v, %v", a, err)
		}
		if _, err := o.awaitTurn(t.Context(), func(adminOptions) (*admin, error) { return nil, syscall.EACCES }); !errors.Is(err, syscall.EACCES) {
			t.Errorf("at the start: %v", err)
		}
	})
}

// shortOfMemory is a listener whose first accepts fail.
type shortOfMemory struct {
	net.Listener
	failures atomic.Int32 // that are left
}

func (l *shortOfMemory) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, os.NewSyscallError("accept4", syscall.ENOMEM)
	}
	return l.Listener.Accept()
}

func TestAdminOutlivesAcceptsThatFail(t *testing.T) {
	a, err := newAdmin(adminOptions{
		Network: "tcp", Address: "127.0.0.1:0", Readiness: new(readiness), Metrics: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	short := &shortOfMemory{Listener: a.listener}
	short.failures.Store(3)
	a.listener = short
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	if status, _ := fetch(t, "http://"+a.Addr().String()+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz answers %d", status)
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
