package tls13

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// trustFile writes what makes a client trust config's certificate.
func trustFile(t *testing.T, config *tls.Config) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: config.Certificates[0].Certificate[0]}
	if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func find(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip(err)
	}
	return path
}

func suiteNames() map[string]suite {
	return map[string]suite{
		"TLS_AES_128_GCM_SHA256":       aes128,
		"TLS_AES_256_GCM_SHA384":       aes256,
		"TLS_CHACHA20_POLY1305_SHA256": chacha20,
	}
}

// Downloads and uploads through curl, several requests on a connection.
func TestCurl(t *testing.T) {
	curl := find(t, "curl")
	payload := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(w, r.Body)
			return
		}
		_, _ = w.Write(payload)
	})
	for name, suite := range suiteNames() {
		for _, version := range []string{"--http1.1", "--http2"} {
			t.Run(name+version, func(t *testing.T) {
				config, _ := serverConfig(t)
				trust := trustFile(t, config)
				l := listen(t, config, nil)
				var group sync.WaitGroup
				group.Go(func() { serveHTTP(t, l, handler, suite) })
				defer group.Wait()
				defer l.stop()

				upload := filepath.Join(t.TempDir(), "upload")
				if err := os.WriteFile(upload, payload, 0o600); err != nil {
					t.Fatal(err)
				}
				url := fmt.Sprintf("https://%s/", l.Addr())
				cmd := exec.CommandContext(t.Context(), curl, "-sS", "--max-time", "20", "--cacert", trust, version,
					"--tls13-ciphers", name, url, url, "--next", "-sS", "--max-time", "20", "--cacert", trust, version,
					"--tls13-ciphers", name, "-H", "Expect:", "--data-binary", "@"+upload, url)
				var problems strings.Builder
				cmd.Stderr = &problems
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("curl: %v\n%s", err, problems.String())
				}
				if want := bytes.Repeat(payload, 3); !bytes.Equal(out, want) {
					t.Errorf("%d bytes came back, want %d", len(out), len(want))
				}
			})
		}
	}
}

// serveHTTP serves the connections of l until it closes, as a server that knows
// nothing of TLS.
func serveHTTP(t *testing.T, l *listener, handler http.Handler, want suite) {
	server := &http.Server{Handler: handler, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	conns := make(chan accepted, 1)
	var group sync.WaitGroup
	group.Go(func() { _ = server.Serve(&listener{Listener: l.Listener, conns: conns}) })
	defer group.Wait()
	defer server.Close()
	defer close(conns)
	for a := range l.conns {
		if a.err != nil || a.Session == nil || a.State.CipherSuite != uint16(want) {
			t.Errorf("not handed over: %v", a.outcome())
			return
		}
		conns <- a
	}
}

// terminal is an interactive openssl s_client.
type terminal struct {
	t     *testing.T
	stdin io.WriteCloser
	mu    sync.Mutex
	text  string
	more  chan struct{}
}

func (c *terminal) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.text += string(p)
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

// expect waits for the text, and forgets all up to it.
func (c *terminal) expect(text string) {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		c.mu.Lock()
		_, rest, found := strings.Cut(c.text, text)
		if found {
			c.text = rest
		}
		seen := c.text
		c.mu.Unlock()
		if found {
			return
		}
		select {
		case <-c.more:
		case <-timeout:
			c.t.Fatalf("no %q in\n%s", text, seen)
		}
	}
}

func (c *terminal) say(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.stdin, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

// openssl starts s_client against l.
func openssl(t *testing.T, l *listener, args ...string) *terminal {
	t.Helper()
	args = append([]string{"s_client", "-connect", l.Addr().String(), "-servername", "localhost"}, args...)
	cmd := exec.CommandContext(t.Context(), find(t, "openssl"), args...)
	c := &terminal{t: t, more: make(chan struct{}, 1)}
	cmd.Stdout, cmd.Stderr = c, c
	var err error
	if c.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.stdin.Close()
		_ = cmd.Wait()
	})
	return c
}

func TestOpenSSLKeyUpdates(t *testing.T) {
	for name, suite := range suiteNames() {
		t.Run(name, func(t *testing.T) {
			config, _ := serverConfig(t)
			l := listen(t, config, nil)
			c := openssl(t, l, "-CAfile", trustFile(t, config), "-verify_return_error", "-ciphersuites", name)
			a := l.next(t)
			if a.Session == nil || a.State.CipherSuite != uint16(suite) {
				t.Fatalf("not handed over: %v", a.outcome())
			}
			received, sent := a.Session.in.secret, a.Session.out.secret
			done := make(chan error, 1)
			go func() { done <- echo(a.Conn) }()
			c.say("first")
			c.expect("first\n")
			for _, command := range []string{"k", "K", "K"} { // K asks us to update too
				c.say(command)
				c.expect("KEYUPDATE")
				c.say("after " + command)
				c.expect("after " + command + "\n")
			}
			c.say("Q")
			if err := <-done; err != nil {
				t.Error(err)
			}
			for range 3 {
				next := keys{secret: received}
				next.update(suite)
				received = next.secret
			}
			for range 2 {
				next := keys{secret: sent}
				next.update(suite)
				sent = next.secret
			}
			if a.Session.in.secret != received || a.Session.out.secret != sent {
				t.Error("keys were not updated 3 times and 2 times")
			}
		})
	}
}

func TestOpenSSLResumption(t *testing.T) {
	config, _ := serverConfig(t)
	l := listen(t, config, nil)
	session := filepath.Join(t.TempDir(), "session")
	for i, file := range []string{"-sess_out", "-sess_in"} {
		c := openssl(t, l, "-CAfile", trustFile(t, config), file, session)
		a := l.next(t)
		if a.Session == nil || a.State.DidResume != (i > 0) {
			t.Fatalf("connection %d: %v", i, a.outcome())
		}
		done := make(chan error, 1)
		go func() { done <- echo(a.Conn) }()
		c.say("hello")
		c.expect("hello\n")
		c.say("Q")
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// The ticket doesn't allow 0-RTT.
	text, err := exec.CommandContext(t.Context(), find(t, "openssl"), "sess_id", "-in", session, "-noout", "-text").Output()
	if err != nil || !strings.Contains(string(text), "Max Early Data: 0") {
		t.Errorf("session: %v\n%s", err, text)
	}
}

// Each of the six connections is handed over. They don't resume, as s_client
// reconnects before it has read a ticket.
func TestOpenSSLReconnect(t *testing.T) {
	config, _ := serverConfig(t)
	l := listen(t, config, nil)
	c := openssl(t, l, "-reconnect")
	for i := range 6 {
		a := l.next(t)
		if a.err != nil || a.Session == nil {
			t.Fatalf("connection %d: %v", i, a.outcome())
		}
		go echo(a.Conn)
	}
	c.say("still there")
	c.expect("still there\n")
}
