package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	processes "github.com/lintel-dev/lintel/conformance/process"
)

const slowSummary = `opened 23477
ended 3730
failed 0
lowest 9800
bytes 139134
wrong 0
late 0.012
seconds 15.995
`

func TestCheckSlow(t *testing.T) {
	const conns = 10000
	if err := checkSlow([]byte(slowSummary), conns); err != nil {
		t.Error(err)
	}
	if err := checkSlow([]byte(strings.Replace(slowSummary, "wrong 0", "wrong 1", 1)), conns); !errors.Is(err, errBadAnswers) {
		t.Errorf("a head that never ended was answered: error %v", err)
	}
	for name, replacement := range map[string]string{"too few": "lowest 9000", "not said": "highest 9800", "no number": "lowest x"} {
		if err := checkSlow([]byte(strings.Replace(slowSummary, "lowest 9800", replacement, 1)), conns); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSlowClientsMayNotBeLate(t *testing.T) {
	if err := checkSlow([]byte(strings.Replace(slowSummary, "late 0.012", "late 0.9", 1)), 10000); err == nil {
		t.Error("no error")
	}
}

// The program that takes slow clients says nothing to them, and ends them in time.
func TestTakerEndsWhatItTook(t *testing.T) {
	built := buildNative(t)
	ports, err := processes.FreePorts(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	taker, err := startCrowd(t.Context(), proxyCore, []string{built.taker, strconv.Itoa(int(ports[0])), "0.2"})
	if err != nil {
		t.Fatal(err)
	}
	defer taker.kill()
	begun := time.Now() // the other side may begin before Dial returns
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(begun.Add(10 * time.Second))
	if _, err := io.WriteString(conn, "G"); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(make([]byte, 10))
	if took := time.Since(begun); n > 0 || err != io.EOF || took < 150*time.Millisecond {
		t.Errorf("%d bytes, %v, after %v", n, err, took)
	}
}

func TestTooManyFilesAreUnsupported(t *testing.T) {
	if err := allowFiles(Case{Conns: 1}); err != nil {
		t.Error(err)
	}
	var cant unsupported
	if err := allowFiles(Case{Conns: 1 << 40}); !errors.As(err, &cant) {
		t.Errorf("a million millions of connections: error %v", err)
	}
}

func TestLongCasesRunByName(t *testing.T) {
	named := func(c Case) bool { return c.Named }
	if all := allCases(); len(usualCases()) == len(all) || slices.ContainsFunc(usualCases(), named) || !slices.ContainsFunc(all, named) {
		t.Errorf("%d of %d cases are usual", len(usualCases()), len(all))
	}
}

func TestHeldConnectionsAskOnceAndAgain(t *testing.T) {
	built := buildNative(t)
	const conns, more = 300, 20
	good := func(id string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\nx-request: %s\r\n\r\n%s", sizeKiB, id, expectedBody(sizeKiB))
	}
	port, served := liar(t, good)
	command := append([]string{built.load, "hold=1"}, loadArguments(loadRun{Case: Case{Path: "/1k", Size: sizeKiB, Conns: conns}, port: port})...)
	c, err := startCrowd(t.Context(), loadCore, command)
	if err != nil {
		t.Fatal(err)
	}
	if n := served.Load(); n != conns {
		t.Errorf("%d requests before all were idle, want %d", n, conns)
	}
	out, err := c.end(strconv.Itoa(more) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseLoad(out, sizeKiB)
	if err != nil || s.connects != conns || s.measured != more || served.Load() != conns+more {
		t.Errorf("found %+v, %v, and %d were served", s, err, served.Load())
	}
}

// A server that closes what is idle, or gives a wrong answer, is found out.
func TestHeldConnectionsHaveToStay(t *testing.T) {
	built := buildNative(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closing := make(chan struct{})
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buffer := make([]byte, 1024)
		n, _ := conn.Read(buffer)
		_, id, _ := strings.Cut(string(buffer[:n]), "X-Request: ")
		id, _, _ = strings.Cut(id, "\r\n")
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\ncontent-length: 1024\r\nx-request: %s\r\n\r\n%s", id, expectedBody(sizeKiB))
		<-closing
	}()
	port := l.Addr().(*net.TCPAddr).Port
	command := append([]string{built.load, "hold=1"}, loadArguments(loadRun{Case: Case{Path: "/1k", Size: sizeKiB, Conns: 1}, port: port})...)
	c, err := startCrowd(t.Context(), loadCore, command)
	if err != nil {
		t.Fatal(err)
	}
	close(closing)
	if again, err := l.Accept(); err != nil { // it opens another in the place of the closed one
		t.Error(err)
	} else {
		again.Close()
	}
	if _, err := c.end("1\n"); !errors.Is(err, errBadAnswers) {
		t.Errorf("the server closed an idle connection: error %v", err)
	}
}

func TestSlowClientsComeAgain(t *testing.T) {
	built := buildNative(t)
	const conns = 20
	for name, c := range map[string]struct {
		answer string
		wrong  bool
	}{
		"mere end":   {"", false},
		"timeout":    {"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n", false},
		"an answer":  {"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true},
		"not a head": {"hello, world", true},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			came := make(chan string, 10*conns)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						first := make([]byte, 1)
						_, _ = conn.Read(first) // the client may end before
						_, _ = io.WriteString(conn, c.answer)
						select {
						case came <- string(first):
						default:
						}
					}()
				}
			}()
			port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
			slow, err := startCrowd(t.Context(), loadCore, []string{built.slow, port, strconv.Itoa(conns), "60"})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 * conns { // each that is ended comes again
				select {
				case first := <-came:
					if first != "G" {
						t.Fatalf("the head begins with %q", first)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("ended connections did not come again")
				}
			}
			if _, err := slow.end(""); errors.Is(err, errBadAnswers) != c.wrong {
				t.Errorf("error is %v", err)
			}
		})
	}
}
