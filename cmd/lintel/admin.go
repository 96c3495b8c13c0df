package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// adminHeaderTimeout ends clients that connect and say nothing.
	adminHeaderTimeout = 5 * time.Second
	// adminShutdownTimeout is for a scrape in flight.
	adminShutdownTimeout = time.Second
)

// admin is the HTTP server for operators and the kubelet: /healthz, /readyz,
// /metrics and /certificates.
type admin struct {
	listener net.Listener
	server   *http.Server
}

// adminOptions are what an admin serves.
type adminOptions struct {
	Address   string // host:port
	Readiness *readiness
	Metrics   http.Handler
	// Certificates is the report of /certificates; nil inside before there is one.
	Certificates *atomic.Pointer[[]certificateOfReport]
	Log          *slog.Logger
}

// newAdmin opens the address; Run serves it.
func newAdmin(o adminOptions) (*admin, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("open admin address: %w", err)
	}
	return &admin{listener: listener, server: &http.Server{
		Handler:           adminHandler(o),
		ReadHeaderTimeout: adminHeaderTimeout,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}}, nil
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
		err := a.server.Shutdown(bounded)
		if err != nil {
			err = a.server.Close()
		}
		stopped <- err
	})
	err := a.server.Serve(a.listener)
	if stop() { // Serve ended by itself
		return fmt.Errorf("serve admin address: %w", err)
	}
	if err := <-stopped; err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stop admin server: %w", err)
	}
	return nil
}

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
	mux.HandleFunc("GET "+certificatesPath, func(w http.ResponseWriter, _ *http.Request) {
		report := o.Certificates.Load()
		if report == nil {
			answer(w, http.StatusServiceUnavailable, "no configuration yet\n")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(report) // the client may be gone
	})
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // the client may be gone
}
