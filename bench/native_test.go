package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	processes "github.com/lintel-dev/lintel/conformance/process"
)

// buildNative compiles the tools, where there is a compiler with what they need.
func buildNative(t *testing.T) tools {
	t.Helper()
	for _, header := range []string{"/usr/include/openssl/ssl.h", "/usr/include/nghttp2/nghttp2.h"} {
		if _, err := os.Stat(header); err != nil {
			t.Skip("no", header)
		}
	}
	if _, err := exec.LookPath("gcc"); err != nil || runtime.NumCPU() <= loadCore {
		t.Skip("no gcc, or no second core")
	}
	built, err := buildTools(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// liar answers each request as reply says, and counts them.
func liar(t *testing.T, reply func(id string) string) (port int, served *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	served = new(atomic.Int64)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				reader := bufio.NewReader(conn)
				for {
					request, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					served.Add(1)
					if _, err := io.WriteString(conn, reply(request.Header.Get("X-Request"))); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, served
}

func TestLoadFindsEveryWrongAnswer(t *testing.T) {
	built := buildNative(t)
	good := string(expectedBody(sizeKiB))
	respond := func(status, id, body string) string {
		return fmt.Sprintf("HTTP/1.1 %s\r\ncontent-length: %d\r\nx-request: %s\r\n\r\n%s", status, len(body), id, body)
	}
	for name, c := range map[string]struct {
		reply func(id string) string
		wrong bool
	}{
		"right":            {func(id string) string { return respond("200 OK", id, good) }, false},
		"error status":     {func(id string) string { return respond("502 Bad Gateway", id, good) }, true},
		"another request":  {func(string) string { return respond("200 OK", "ffffffffffffffff", good) }, true},
		"no id":            {func(string) string { return respond("200 OK", "", good) }, true},
		"a wrong byte":     {func(id string) string { return respond("200 OK", id, good[:1023]+"!") }, true},
		"pieces swapped":   {func(id string) string { return respond("200 OK", id, good[512:]+good[:512]) }, true},
		"a shorter body":   {func(id string) string { return respond("200 OK", id, good[:1000]) }, true},
		"an extra byte":    {func(id string) string { return respond("200 OK", id, good) + "x" }, true},
		"no HTTP":          {func(string) string { return "hello\r\n\r\n" }, true},
		"a missing length": {func(id string) string { return "HTTP/1.1 200 OK\r\nx-request: " + id + "\r\n\r\n" + good }, true},
	} {
		t.Run(name, func(t *testing.T) {
			port, served := liar(t, c.reply)
			s, err := runLoad(t.Context(), built, loadRun{
				Case: Case{Path: "/1k", Size: sizeKiB, Conns: 4}, port: port, pids: []int{os.Getpid()}, duration: 50 * time.Millisecond,
			})
			switch {
			case c.wrong && !errors.Is(err, errBadAnswers):
				t.Errorf("error is %v", err)
			case !c.wrong && err != nil:
				t.Error(err)
			case !c.wrong && int64(s.requests) != served.Load():
				t.Errorf("counted %d of %d requests", s.requests, served.Load())
			}
		})
	}
}

// A server that stalls once must be seen by all requests that were due meanwhile.
func TestLatencyCountsWaitingForAConnection(t *testing.T) {
	built := buildNative(t)
	const stall = 200 * time.Millisecond
	var stalled atomic.Bool
	begin := time.Now()
	port, _ := liar(t, func(id string) string {
		if time.Since(begin) > stall && stalled.CompareAndSwap(false, true) {
			time.Sleep(stall) // the fault itself, not a wait for something
		}
		body := expectedBody(sizeKiB)
		return fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-request: %s\r\n\r\n%s", len(body), id, body)
	})
	s, err := runLoad(t.Context(), built, loadRun{
		Case: Case{Path: "/1k", Size: sizeKiB, Conns: 1}, port: port, pids: []int{os.Getpid()}, duration: time.Second, rate: 500,
	})
	if err != nil {
		t.Fatal(err)
	}
	// A fifth of the requests was due during the stall, and half of these waited for
	// more than its half.
	if s.p99 < stall/2 {
		t.Errorf("p99 is %v although everything stood still for %v", s.p99, stall)
	}
}

// upstreamOf starts the upstream of a case, which ends with the test.
func upstreamOf(t *testing.T, built tools, c Case) *upstream {
	t.Helper()
	up, err := startUpstream(t.Context(), built, t.TempDir(), c.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.stop)
	return up
}

func TestUpstreamsCount(t *testing.T) {
	built := buildNative(t)
	for name, c := range map[string]Case{
		"http":      {Path: "/10k", Size: size10KiB},
		"websocket": {Protocol: WebSocket, Path: "/ws", Size: messageSize},
	} {
		t.Run(name, func(t *testing.T) {
			up := upstreamOf(t, built, c)
			var port int
			if _, err := fmt.Sscanf(up.address, "127.0.0.1:%d", &port); err != nil {
				t.Fatal(err)
			}
			if err := newChecker(Site{Case: c, Port: port}).all(t.Context()); err != nil {
				t.Error(err)
			}
			if n, err := up.served(t.Context()); err != nil || n != checks {
				t.Errorf("counted %d of %d, %v", n, checks, err)
			}
		})
	}
}

func TestRelayPassesEverythingOn(t *testing.T) {
	built := buildNative(t)
	for name, c := range map[string]Case{
		"http":      {Path: "/1m", Size: sizeMiB},
		"websocket": {Protocol: WebSocket, Path: "/ws", Size: messageSize},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{dir: t.TempDir()}
			through, err := b.start(t.Context(), c, installed{relay{}, built.relay}, upstreamOf(t, built, c))
			if err != nil {
				t.Fatal(err)
			}
			defer through.process.stop()
			if err := through.checker.all(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTLSRelayPassesEverythingOn(t *testing.T) {
	up := upstreamOf(t, buildNative(t), Case{Protocol: TLS})
	certificate, err := makeCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ports, err := processes.FreePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	port := int(ports[0])
	go func() {
		_ = runTLSRelay(t.Context(), []string{strconv.Itoa(port), certificate.CertFile, certificate.KeyFile, up.address})
	}()
	for _, protocol := range []Protocol{TLS, Handshake} {
		checker := newChecker(Site{Case: Case{Protocol: protocol, Path: "/1k", Size: sizeKiB}, Port: port, Certificate: certificate})
		if err := up.await(t.Context(), checker.first); err != nil {
			t.Fatal(err)
		}
		if err := checker.all(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
