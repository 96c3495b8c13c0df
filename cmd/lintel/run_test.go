package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

// settingsOf are the settings that flags give.
func settingsOf(t *testing.T, args ...string) Settings {
	t.Helper()
	settings, err := readSettings(t, "", nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

// startRun is lintel run in the process of a test. What it returns ends it as SIGTERM does.
func startRun(t *testing.T, args ...string) (stop func()) {
	t.Helper()
	settings, log := settingsOf(t, args...), slog.New(slog.NewTextHandler(t.Output(), nil))
	return inBackground(t, func(ctx context.Context) error { return run(ctx, settings, log) })
}

// inBackground starts something that runs until its context ends, and returns what ends it, as
// the end of the test does.
func inBackground(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("lintel run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// recordsPlan is what lintel dns plan prints.
func recordsPlan(t *testing.T, client *http.Client, args ...string) (string, error) {
	t.Helper()
	settings := settingsOf(t, args...)
	var out strings.Builder
	err := dnsPlan(t.Context(), &settings, dnsPlanOptions{Out: &out, Log: slog.New(slog.DiscardHandler), Client: client})
	return out.String(), err
}

// start runs Lintel, without Ingress ports and access log unless args say otherwise. The function that it returns ends
// it as SIGTERM does, and so does the end of the test.
func (r testRun) start(t *testing.T, args ...string) (p *process, stop func()) {
	t.Helper()
	usual := []string{"--http-port=0", "--https-port=0", "--access-log=off", "--publish-address=192.0.2.7", "--drain-timeout=1s"}
	p = newProcess(settingsOf(t, append(usual, args...)...), slog.New(slog.NewTextHandler(r.log, nil)))
	p.dnsClient = r.dns
	p.loop.care.now, p.loop.care.backoff = r.now, r.backoff
	p.loop.tunnels.creator.first = cmp.Or(r.creationRetry, firstCreationRetry)
	return p, inBackground(t, p.serve)
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
