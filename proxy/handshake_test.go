package proxy

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// crumbs is a connection that sends each byte by itself, or holds back what follows the
// first limit of them.
type crumbs struct {
	net.Conn
	limit int // -1: none
}

func (c *crumbs) Write(p []byte) (int, error) {
	for i := range p {
		if c.limit == 0 {
			return len(p), nil
		}
		c.limit--
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// crumbly is a client of TLS on crumbs.
func (g *gateway) crumbly(limit int, version uint16) (conn *tls.Conn, wire *net.TCPConn) {
	g.t.Helper()
	dialed, err := net.Dial("tcp", g.address())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { dialed.Close() })
	_ = dialed.SetDeadline(time.Now().Add(20 * time.Second))
	wire = dialed.(*net.TCPConn)
	_ = wire.SetNoDelay(true)
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "app.test", MaxVersion: version}
	return tls.Client(&crumbs{wire, limit}, config), wire
}

// Handshakes come in pieces, many at once, and those of others go on meanwhile.
func TestHandshakesInPieces(t *testing.T) {
	run(t, []mode{tlsMode}, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
		g.apply()
		for range 20 { // of which nothing more is to come
			conn, _ := g.crumbly(100, tls.VersionTLS13)
			go func() { _ = conn.Handshake() }()
		}
		var clients sync.WaitGroup
		for i := range 40 {
			version := uint16(tls.VersionTLS13 - i%2)
			clients.Go(func() {
				conn, _ := g.crumbly(-1, version)
				if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(conn); err != nil || len(got) < 4 || string(got[len(got)-4:]) != "here" {
					t.Errorf("%s: %q, %v", tls.VersionName(version), got, err)
				}
			})
		}
		clients.Wait()
	})
}

// ends wants the connection to be closed without a word.
func ends(t *testing.T, wire *net.TCPConn) {
	t.Helper()
	if got, err := io.ReadAll(wire); err != nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}

// A handshake has to be over in time, whether or not it has begun.
func TestHandshakeTimeout(t *testing.T) {
	runAtOnce(t, []mode{tlsMode}, Settings{ReadHeaderTimeout: 300 * time.Millisecond}, func(t *testing.T, g *gateway) {
		g.apply()
		for _, bytes := range []int{0, 1, 100} {
			begun := time.Now() // before the connection, from when on it counts
			conn, wire := g.crumbly(bytes, tls.VersionTLS13)
			shaken := make(chan struct{})
			go func() {
				defer close(shaken)
				_ = conn.Handshake() // it reads, too
			}()
			<-shaken
			if took := time.Since(begun); took < 300*time.Millisecond || took > 5*time.Second {
				t.Errorf("after %d bytes: ended after %v", bytes, took)
			}
			ends(t, wire)
		}
	})
}

// A socket that is removed, and a server that stops, do not wait for handshakes for long.
func TestHandshakeDrains(t *testing.T) {
	runAtOnce(t, []mode{tlsMode}, Settings{DrainTimeout: 20 * time.Second, ReadHeaderTimeout: 20 * time.Second}, func(t *testing.T, g *gateway) {
		g.apply()
		var wires []*net.TCPConn
		for _, bytes := range []int{0, 100} {
			conn, wire := g.crumbly(bytes, tls.VersionTLS13)
			if bytes > 0 {
				_, _ = conn.NetConn().Write(make([]byte, 0))
				_, _ = conn.NetConn().Write([]byte{22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3})
			}
			wires = append(wires, wire)
		}
		stats := g.server.Stats()
		eventually(t, "they are served", func() bool { return stats.Downstream.Load() == int64(len(wires)) })
		begun := time.Now()
		g.stop()
		for _, wire := range wires {
			ends(t, wire)
		}
		<-g.ended
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// A client that leaves amid its handshake leaves nothing behind.
func TestHandshakeIsLeft(t *testing.T) {
	run(t, []mode{tlsMode}, Settings{}, func(t *testing.T, g *gateway) {
		g.apply()
		stats := g.server.Stats()
		for _, bytes := range []int{0, 5, 100, 1 << 20} {
			for _, linger := range []int{-1, 0} {
				conn, wire := g.crumbly(bytes, tls.VersionTLS13)
				_ = wire.SetLinger(linger)
				if bytes == 1<<20 { // after it, that is
					if err := conn.Handshake(); err != nil {
						t.Fatal(err)
					}
				} else {
					_, _ = conn.NetConn().Write(make([]byte, bytes))
				}
				wire.Close()
				eventually(t, "it is gone", func() bool { return stats.Downstream.Load() == 0 })
			}
		}
	})
}
