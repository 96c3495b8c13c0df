package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

const (
	// adminHeaderTimeout ends clients that connect and say nothing.
	adminHeaderTimeout = 5 * time.Second
	// adminShutdownTimeout is for a scrape in flight.
	adminShutdownTimeout = time.Second
	// adminTurnInterval is how often an address is tried that another process has.
	adminTurnInterval = 100 * time.Millisecond
)

// admin is the HTTP server for operators and the kubelet: /healthz, /readyz,
// /metrics, /certificates, /tunnels and /observe.
type admin struct {
	listener net.Listener
	server   *http.Server
	file     fs.FileInfo // of a Unix socket; nil has none
	// endStreams ends requests that would go on for ever.
	endStreams context.CancelFunc
}

// adminOptions are what an admin serves.
type adminOptions struct {
	Network   string // tcp or unix
	Address   string // host:port, or path
	Readiness *readiness
	Metrics   http.Handler
	// Reports answer at their paths.
	Reports map[string]http.Handler
	Log     *slog.Logger
}

// newAdmin opens the address; Run serves it.
func newAdmin(o adminOptions) (*admin, error) {
	if o.Network == "unix" {
		if err := removeSocket(o.Address); err != nil {
			return nil, fmt.Errorf("open admin address: %w", err)
		}
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), o.Network, o.Address)
	if err != nil {
		return nil, fmt.Errorf("open admin address: %w", err)
	}
	requests, endStreams := context.WithCancel(context.Background())
	return &admin{listener: listener, file: keepSocket(listener), endStreams: endStreams, server: &http.Server{
		Handler:           adminHandler(o),
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: adminHeaderTimeout,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}}, nil
}

// removeSocket removes the Unix socket of a process that was killed.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there already, and no socket", path)
	}
	return os.Remove(path)
}

// keepSocket keeps the file of a Unix socket from being removed with its listener: by
// then it may be another process's, which follows this one. It returns the file; nil is
// none.
func keepSocket(listener net.Listener) fs.FileInfo {
	socket, ok := listener.(*net.UnixListener)
	if !ok {
		return nil
	}
	info, err := os.Lstat(socket.Addr().String())
	if err != nil {
		return nil // it is gone already
	}
	socket.SetUnlinkOnClose(false)
	return info
}

// removeFile removes the Unix socket, if it is still ours.
func (a *admin) removeFile() {
	if a.file == nil {
		return
	}
	path := a.listener.Addr().String()
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, a.file) {
		_ = os.Remove(path) // the next one does it otherwise
	}
}

// runInTurn serves the address from when no other process has it until ctx ends: the
// replicas of a machine have it one after the other.
func (o adminOptions) runInTurn(ctx context.Context) error {
	a, err := o.awaitTurn(ctx, newAdmin)
	if a == nil || err != nil {
		return err
	}
	return a.Run(ctx)
}

// awaitTurn opens the address when no other process has it, or returns nil when ctx ends. Only the
// first attempt may fail: then a person hears of a mistake at once, and nothing is served yet. Who
// has waited serves, and does not end for want of descriptors.
func (o adminOptions) awaitTurn(ctx context.Context, open func(adminOptions) (*admin, error)) (*admin, error) {
	said := ""
	for waited := false; ; waited = true {
		a, err := open(o)
		if err == nil || !waited && !errors.Is(err, syscall.EADDRINUSE) {
			return a, err
		}
		switch {
		case said == err.Error():
		case errors.Is(err, syscall.EADDRINUSE):
			o.Log.Info("another process has the admin address; waiting for it", "address", o.Address)
		default:
			o.Log.Warn("the admin address is not open; trying again", "address", o.Address, "err", err)
		}
		said = err.Error()
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(adminTurnInterval):
		}
	}
}

// Addr returns the address that is open, with the port that the kernel chose when
// the wanted one was 0.
func (a *admin) Addr() net.Addr { return a.listener.Addr() }

// Run serves until ctx ends, which should be after the data plane has drained, so
// that /readyz can tell of it.
func (a *admin) Run(ctx context.Context) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminShutdownTimeout)
		defer cancel()
		a.endStreams()
		err := a.server.Shutdown(bounded)
		if err != nil {
			err = a.server.Close()
		}
		stopped <- err
	})
	defer a.endStreams()
	defer a.removeFile()
	err := a.server.Serve(patientListener{a.listener})
	if stop() { // Serve ended by itself
		return fmt.Errorf("serve admin address: %w", err)
	}
	if err := <-stopped; err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stop admin server: %w", err)
	}
	return nil
}

// patientListener has a server try again whatever an accept fails by, such as too little memory:
// the server would end, and the process with it, unless it knows that an error passes.
type patientListener struct{ net.Listener }

// Accept implements [net.Listener].
func (l patientListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		err = passingError{err}
	}
	return conn, err
}

// passingError is a [net.Error] that net/http goes on after, with a pause.
type passingError struct{ error }

func (passingError) Timeout() bool   { return false }
func (passingError) Temporary() bool { return true }

func adminHandler(o adminOptions) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, text := o.Readiness.state()
		if !ready {
			answer(w, http.StatusServiceUnavailable, text)
			return
		}
		answer(w, http.StatusOK, text)
	})
	mux.Handle("GET /metrics", o.Metrics)
	for path, report := range o.Reports {
		mux.Handle("GET "+path, report)
	}
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the client may be gone
}
