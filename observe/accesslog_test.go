package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// unsafeString aliases b, as the strings of an Exchange alias a read buffer.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// logged returns what an AccessLog writes for exchanges.
func logged(t *testing.T, o AccessLogOptions, exchanges ...*Exchange) []map[string]any {
	t.Helper()
	var out bytes.Buffer
	o.Writer, o.Metrics = &out, NewMetrics(Build{})
	l := NewAccessLog(o)
	for _, e := range exchanges {
		l.ObserveExchange(e)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // Run writes what is queued, and returns
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	decoder := json.NewDecoder(&out)
	for {
		var line map[string]any
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return lines
		} else if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
}

func TestAccessLogLine(t *testing.T) {
	lines := logged(t, AccessLogOptions{}, &Exchange{
		Listener: "Gateway default/web/http", Route: "HTTPRoute default/shop", Backend: "default/shop:80",
		Client: netip.MustParseAddr("192.0.2.9"), Protocol: "HTTP/1.1", Scheme: "https", Method: "GET",
		Host: "shop.example.com", Path: `/a"b`, UserAgent: "curl/8", RequestID: "r1",
		Status: 200, BytesIn: 3, BytesOut: 1024, Start: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC),
		Duration: 1234567 * time.Nanosecond, Upstream: netip.MustParseAddrPort("10.0.0.1:8080"),
		UpstreamLatency: time.Millisecond, Attempts: 2, Cause: "timeout",
	})
	want := map[string]any{
		"time": "2026-01-02T03:04:05.006Z", "level": "INFO", "msg": "exchange",
		"client": "192.0.2.9", "method": "GET", "scheme": "https", "host": "shop.example.com", "path": `/a"b`,
		"protocol": "HTTP/1.1", "status": 200.0, "bytes_in": 3.0, "bytes_out": 1024.0, "seconds": 0.001235,
		"listener": "Gateway default/web/http", "route": "HTTPRoute default/shop", "backend": "default/shop:80",
		"upstream": "10.0.0.1:8080", "upstream_seconds": 0.001, "attempts": 2.0, "user_agent": "curl/8",
		"request_id": "r1", "cause": "timeout",
	}
	if len(lines) != 1 || fmt.Sprint(lines[0]) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", lines, want)
	}
	if empty := logged(t, AccessLogOptions{}, &Exchange{}); len(empty) != 1 || len(empty[0]) != len(want)-1 {
		// slog leaves out a zero time and nothing else.
		t.Errorf("an empty exchange has other keys: %v", empty)
	}
}

func TestAccessLogSamplesButKeeps5xx(t *testing.T) {
	var exchanges []*Exchange
	for i := range 40 {
		status := 200
		if i%10 == 3 {
			status = 502
		}
		exchanges = append(exchanges, &Exchange{Status: status})
	}
	var statuses []float64
	for _, line := range logged(t, AccessLogOptions{Sample: 12}, exchanges...) {
		statuses = append(statuses, line["status"].(float64))
	}
	slices.Sort(statuses)
	if want := []float64{200, 200, 200, 502, 502, 502, 502}; !slices.Equal(statuses, want) {
		t.Errorf("got %v; want one in 12 of 36, and all of 4", statuses)
	}
}

// The connection overwrites its buffer while a line still waits.
func TestAccessLogKeepsNoStringOfTheExchange(t *testing.T) {
	path := []byte("/before")
	e := &Exchange{Method: "GET", Path: unsafeString(path), Host: "h"}
	var out bytes.Buffer
	l := NewAccessLog(AccessLogOptions{Writer: &out, Metrics: NewMetrics(Build{})})
	l.ObserveExchange(e)
	copy(path, "/after!")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = l.Run(ctx)
	if !strings.Contains(out.String(), `"path":"/before"`) {
		t.Errorf("got %s", &out)
	}
}

// blockedWriter holds every write until it is released.
type blockedWriter struct{ release chan struct{} }

func (w blockedWriter) Write(p []byte) (int, error) { <-w.release; return len(p), nil }

func TestAccessLogNeverBlocksAndCountsWhatItDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics(Build{})
		writer := blockedWriter{make(chan struct{})}
		l := NewAccessLog(AccessLogOptions{Writer: writer, Metrics: m})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		l.ObserveExchange(&Exchange{})
		synctest.Wait() // the writer holds the first line
		for range queueLength + 7 {
			l.ObserveExchange(&Exchange{})
		}
		wantLine(t, m, "lintel_access_log_dropped_total 7")
		close(writer.release)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A line is not held back until there are more.
func TestAccessLogWritesALineThatComesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		l := NewAccessLog(AccessLogOptions{Writer: writer, Metrics: NewMetrics(Build{})})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		l.ObserveExchange(&Exchange{Path: "/alone"})
		line := make([]byte, 1024)
		n, err := reader.Read(line)
		if err != nil || !bytes.Contains(line[:n], []byte("/alone")) {
			t.Errorf("got %s, %v", line[:n], err)
		}
		cancel()
		<-done
	})
}

// failingWriter fails its first write.
type failingWriter struct {
	bytes.Buffer
	failed bool
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if !w.failed {
		w.failed = true
		return 0, errors.New("disk full")
	}
	return w.Buffer.Write(p)
}

func TestAccessLogGoesOnAfterAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, writer := NewMetrics(Build{}), &failingWriter{}
		l := NewAccessLog(AccessLogOptions{Writer: writer, Metrics: m})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Run(ctx) }()
		l.ObserveExchange(&Exchange{Path: "/lost"})
		synctest.Wait()
		l.ObserveExchange(&Exchange{Path: "/written"})
		synctest.Wait()
		cancel()
		<-done
		wantLine(t, m, "lintel_access_log_dropped_total 1")
		if out := writer.String(); strings.Contains(out, "/lost") || !strings.Contains(out, "/written") {
			t.Errorf("got %s", out)
		}
	})
}

// BenchmarkAccessLog measures what a line costs the connection's goroutine.
func BenchmarkAccessLog(b *testing.B) {
	l := NewAccessLog(AccessLogOptions{Metrics: NewMetrics(Build{})})
	e := &Exchange{Method: "GET", Host: "shop.example.com", Path: "/index.html", Protocol: "HTTP/1.1", Status: 200}
	b.ReportAllocs()
	for b.Loop() {
		l.ObserveExchange(e)
		<-l.queue
	}
}

// BenchmarkAccessLogLine measures the writer's side.
func BenchmarkAccessLogLine(b *testing.B) {
	e := &Exchange{Method: "GET", Host: "shop.example.com", Path: "/index.html", Protocol: "HTTP/1.1", Status: 200, Start: time.Now()}
	handler := slog.NewJSONHandler(io.Discard, nil)
	b.ReportAllocs()
	for b.Loop() {
		_ = handler.Handle(b.Context(), e.record())
	}
}
