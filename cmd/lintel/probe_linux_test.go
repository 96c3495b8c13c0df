package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Replicas of one machine have the address one after the other, and each a socket.
func TestAdminAddressInTurn(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	metrics := http.NotFoundHandler()
	draining := new(readiness)
	draining.drain()
	first, err := newAdmin(adminOptions{Network: "tcp", Address: "127.0.0.1:0", Readiness: draining, Metrics: metrics, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	address := first.Addr().String()
	ctx, end := context.WithCancel(t.Context())
	firstEnded, secondEnded := make(chan error, 1), make(chan error, 1)
	go func() { firstEnded <- first.Run(ctx) }()

	second := new(readiness)
	second.set(nil)
	secondCtx, endSecond := context.WithCancel(t.Context())
	o := adminOptions{Network: "tcp", Address: address, Readiness: second, Metrics: metrics, Log: log}
	go func() { secondEnded <- o.runInTurn(secondCtx) }()
	if status, _ := fetch(t, "http://"+address+"/readyz"); status != 503 {
		t.Errorf("the first drains, and says %d", status)
	}
	end()
	if err := <-firstEnded; err != nil {
		t.Error(err)
	}
	untilNil(t, "the second answers", func() error {
		response, err := http.Get("http://" + address + "/readyz")
		if err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = errors.New(response.Status)
			}
		}
		return err
	})
	endSecond()
	if err := <-secondEnded; err != nil {
		t.Error(err)
	}
}

func TestProbe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	ready := new(readiness)
	o := adminOptions{Network: "unix", Address: path, Readiness: ready, Metrics: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler)}
	killed, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	killed.SetUnlinkOnClose(false)
	killed.Close() // the file stays
	a, err := newAdmin(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	ask := func(what string) (string, error) {
		var out strings.Builder
		root := newRootCommand(new(job))
		root.SetArgs([]string{"probe", what, "--admin-socket", path})
		root.SetOut(&out)
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	if out, err := ask("healthz"); err != nil || out != "ok\n" {
		t.Errorf("healthz: %q, %v", out, err)
	}
	if _, err := ask("readyz"); err == nil || err.Error() != "readyz: waiting for the first sync" {
		t.Errorf("before it is ready: %v", err)
	}
	ready.set(nil)
	if out, err := ask("readyz"); err != nil || out != "ok\n" {
		t.Errorf("readyz: %q, %v", out, err)
	}
	if _, err := ask("metrics"); err == nil || !strings.Contains(err.Error(), "healthz or readyz") {
		t.Errorf("metrics: %v", err)
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := ask("healthz"); err == nil {
		t.Error("healthz: it is well after its end")
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newAdmin(o); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file was replaced: %v", err)
	}
}
