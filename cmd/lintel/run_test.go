package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/tls/acme"
)

// testRun is Lintel in the process of a test.
type testRun struct {
	log io.Writer
	dns *http.Client // that reaches DNS providers

	now     func() time.Time // of orders of certificates; nil is the usual clock
	backoff acme.Backoff     // likewise

	creationRetry time.Duration // before the second attempt to create a tunnel; zero is the usual
}

// start runs Lintel, without Ingress ports and access log unless args say otherwise. The function that it returns ends
// it as SIGTERM does, and so does the end of the test.
func (r testRun) start(t *testing.T, args ...string) (p *process, stop func()) {
	t.Helper()
	reader := newSettingsReader()
	usual := []string{"--http-port=0", "--https-port=0", "--access-log=off", "--publish-address=192.0.2.7", "--drain-timeout=1s"}
	if err := reader.Flags().Parse(append(usual, args...)); err != nil {
		t.Fatal(err)
	}
	settings, err := reader.Read(nil)
	if err != nil {
		t.Fatal(err)
	}
	p = newProcess(settings, slog.New(slog.NewTextHandler(r.log, nil)))
	p.dnsClient = r.dns
	p.loop.care.now, p.loop.care.backoff = r.now, r.backoff
	p.loop.tunnels.creator.first = cmp.Or(r.creationRetry, firstCreationRetry)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("lintel run: %v", err)
		}
	})
	t.Cleanup(stop)
	return p, stop
}

// replaceFile writes a file by a rename, so that no half of it is ever read.
func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	aside := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(aside, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, path); err != nil {
		t.Fatal(err)
	}
}
