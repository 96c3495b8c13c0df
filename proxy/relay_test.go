package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n"

// switched is an upstream that agrees to an upgrade, and then does what then does.
func switched(then func(net.Conn, *bufio.Reader)) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		if _, err := io.WriteString(conn, switching); err == nil {
			then(conn, in)
		}
	}
}

// talk returns a client whose connection was upgraded.
func (g *gateway) talk() *raw {
	g.t.Helper()
	c := g.dial()
	c.send(upgrading)
	c.upgraded()
	return c
}

// more than all socket buffers on the way hold together
const flood = 128 << 20

// fill writes until the peer takes nothing for a while, and returns how much it took.
func fill(t *testing.T, conn net.Conn) int {
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	for total := 0; ; {
		_ = conn.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := conn.Write(piece[total%16:])
		total += n
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return total
		case err != nil:
			t.Errorf("after %d bytes: %v", total, err)
			return total
		case total > flood:
			t.Errorf("%d bytes went to a peer that does not read", total)
			return total
		}
	}
}

// drainFlood reads to the end what fill has written.
func drainFlood(t *testing.T, in io.Reader, want int) {
	total := 0
	p := make([]byte, 64<<10)
	pattern := bytes.Repeat([]byte("0123456789abcdef"), len(p)/16+1)
	for {
		n, err := in.Read(p)
		if !bytes.Equal(p[:n], pattern[total%16:][:n]) {
			t.Errorf("one of %d bytes behind %d is wrong", n, total)
			return
		}
		total += n
		if err != nil {
			if total != want || err != io.EOF {
				t.Errorf("%d bytes of %d came, and then %v", total, want, err)
			}
			return
		}
	}
}

// Who does not read is not sent more than buffers hold, and loses nothing.
func TestUpgradeBackPressure(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		sent, read := make(chan int), make(chan struct{})
		g.route("/", rawBackend(t, switched(func(conn net.Conn, in *bufio.Reader) {
			drainFlood(t, in, <-sent)
			close(read)
			sent <- fill(t, conn)
		})))
		g.apply()
		c := g.talk()
		n := fill(t, c.conn)
		_ = c.conn.(closeWriter).CloseWrite()
		sent <- n
		<-read
		back := <-sent // the upstream closes now
		drainFlood(t, c.in, back)
		if x := g.observed(1); x.Received != int64(n) || x.Sent != int64(back) {
			t.Errorf("observed %d in and %d out, want %d and %d", x.Received, x.Sent, n, back)
		}
	})
}

// The upstream may finish first, and still be sent something.
func TestUpgradeHalfClosedByUpstream(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		got := make(chan string, 1)
		g.route("/", rawBackend(t, switched(func(conn net.Conn, in *bufio.Reader) {
			_, _ = io.WriteString(conn, "bye")
			_ = conn.(closeWriter).CloseWrite()
			rest, _ := io.ReadAll(in)
			got <- string(rest)
		})))
		g.apply()
		c := g.talk()
		c.expect("bye")
		c.expectEnd()
		c.send("one")
		c.send("two")
		_ = c.conn.(closeWriter).CloseWrite()
		if rest := <-got; rest != "onetwo" {
			t.Errorf("the upstream got %q", rest)
		}
		eventually(t, "nothing is relayed", func() bool { return g.server.Stats().Upgraded.Load() == 0 })
	})
}

// What either side sends together with its head is passed on first.
func TestUpgradeWithMuchPending(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		much := strings.Repeat("0123456789abcdef", 32<<10)
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			var answered sync.WaitGroup
			answered.Go(func() { _, _ = io.WriteString(conn, switching+much) })
			rest := make([]byte, len(much))
			_, err := io.ReadFull(in, rest)
			answered.Wait()
			if err != nil || string(rest) != much {
				t.Errorf("the upstream got something else, %v", err)
			}
			_, _ = io.WriteString(conn, "end")
		}))
		g.apply()
		c := g.dial()
		var sent sync.WaitGroup
		sent.Go(func() { _, _ = io.WriteString(c.conn, upgrading+much) })
		c.upgraded()
		c.expect(much + "end")
		sent.Wait()
		c.expectEnd()
	})
}

// A side that takes nothing ends it after the BodyTimeout, silence does not.
func TestUpgradeStalls(t *testing.T) {
	runAtOnce(t, allModes, Settings{BodyTimeout: 400 * time.Millisecond}, func(t *testing.T, g *gateway) {
		over := make(chan struct{})
		g.route("/", rawBackend(t, switched(func(conn net.Conn, in *bufio.Reader) {
			if b, _ := in.ReadByte(); b == 's' {
				_, _ = conn.Write([]byte("s"))
			}
			<-over
		})))
		t.Cleanup(func() { close(over) }) // before the backend's, which waits for it
		g.apply()
		c := g.talk()
		time.Sleep(600 * time.Millisecond) // longer than the timeout: it must not matter
		c.send("s")
		c.expect("s")
		piece := make([]byte, 64<<10)
		for total := 0; ; total += len(piece) {
			if _, err := c.conn.Write(piece); isTimeout(err) || total > flood {
				t.Fatalf("it goes on after %d bytes: %v", total, err)
			} else if err != nil {
				break
			}
		}
		g.observed(1)
	})
}

// A side that resets resets the other, which could take what it has got for all; also where the
// client's TLS is none that a loop goes on with.
func TestUpgradeReset(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		came, ended := make(chan bool, 1), make(chan error, 1)
		g.route("/", rawBackend(t, switched(func(conn net.Conn, in *bufio.Reader) {
			if b, _ := in.ReadByte(); b == 'r' {
				leave(conn, "resets")
				return
			}
			came <- true
			_, err := io.Copy(io.Discard, in)
			ended <- err
		})))
		g.apply()
		exchanges := 0
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			talk := func() *raw {
				c := g.dial()
				if g.mode.tls {
					config := &tls.Config{InsecureSkipVerify: true, ServerName: "app.test", MaxVersion: version}
					c.conn = tls.Client(c.conn.(*tls.Conn).NetConn(), config)
					c.in.Reset(c.conn)
				}
				c.send(upgrading)
				c.upgraded()
				return c
			}
			c := talk()
			c.send("r")
			if _, err := io.ReadAll(c.in); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client got %v for the upstream's reset", err)
			}
			c = talk()
			c.send("x")
			<-came
			leave(c.conn, "resets")
			if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the upstream got %v for the client's reset", err)
			}
			exchanges += 2
			g.observed(exchanges)
		}
	})
}

// Many at once, which end in all ways and leave nothing behind.
func TestManyUpgrades(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		const many, messages = 200, 20
		g.route("/", rawBackend(t, switched(func(conn net.Conn, in *bufio.Reader) {
			for range rand.IntN(2 * messages) {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if _, err := io.WriteString(conn, line); err != nil {
					return
				}
			}
			switch rand.IntN(3) {
			case 0:
				_ = conn.(*net.TCPConn).SetLinger(0)
			case 1:
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, in)
			}
		})))
		g.apply()
		g.accepts()
		before := descriptors(t)
		var clients sync.WaitGroup
		for range many {
			c := g.dial()
			clients.Go(func() {
				defer c.conn.Close()
				if _, err := io.WriteString(c.conn, upgrading); err != nil {
					return
				}
				if res, err := http.ReadResponse(c.in, nil); err != nil || res.StatusCode != 101 {
					t.Errorf("no upgrade: %v", err)
					return
				}
				talkLines(t, c, rand.IntN(2*messages))
				if rand.IntN(2) == 0 {
					_ = c.conn.(*net.TCPConn).SetLinger(0)
				}
			})
		}
		clients.Wait()
		stats := g.server.Stats()
		eventually(t, "all end", func() bool {
			return stats.Upgraded.Load() == 0 && stats.Downstream.Load() == 0 && stats.Upstream.Load() == 0
		})
		g.observed(many)
		eventually(t, "all descriptors are closed", func() bool { return descriptors(t) <= before })
	})
}

// accepts returns once the gateway serves connections, and has none.
func (g *gateway) accepts() {
	g.t.Helper()
	c := g.dial()
	stats := g.server.Stats()
	eventually(g.t, "a connection is served", func() bool { return stats.Downstream.Load() == 1 })
	c.conn.Close()
	eventually(g.t, "it has ended", func() bool { return stats.Downstream.Load() == 0 })
}

// talkLines sends lines of random length until one does not come back.
func talkLines(t *testing.T, c *raw, lines int) {
	for range lines {
		line := strings.Repeat("x", rand.IntN(64<<rand.IntN(12))) + "\n"
		if _, err := io.WriteString(c.conn, line); err != nil {
			return
		}
		back, err := c.in.ReadString('\n')
		if err != nil {
			return
		}
		if back != line {
			t.Errorf("%d bytes came back as %d", len(line), len(back))
			return
		}
	}
}

// descriptors counts those that the process has open, but for pipes, of which the loops
// keep some; always 0 where that is not known.
func descriptors(t *testing.T) int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	count := 0
	for _, file := range open {
		if name, err := os.Readlink("/proc/self/fd/" + file.Name()); err != nil || !strings.HasPrefix(name, "pipe:") {
			count++
		}
	}
	return count
}

// Over TLS 1.3 too an upgraded connection is a loop's: it has no buffers, and one goroutine
// that waits for its end.
func TestUpgradeOverTLSIsRelayedByALoop(t *testing.T) {
	run(t, allModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, switched(func(conn net.Conn, in *bufio.Reader) { _, _ = io.Copy(conn, in) })))
		g.apply()
		c := g.dial()
		c.send(upgrading + "early")
		c.upgraded()
		c.expect("early")
		large := strings.Repeat("0123456789abcdef", 1<<16)
		go func() { _, _ = io.WriteString(c.conn, large) }()
		c.expect(large)
		sock := g.server.sockets[socketName]
		sock.mu.Lock()
		for c := range sock.connections {
			f := &c.h1.flight
			f.mu.Lock()
			if _, ok := f.canceling.(relayed); ok != (g.server.loops != nil) {
				t.Errorf("relayed by a loop: %v", ok)
			}
			f.mu.Unlock()
		}
		sock.mu.Unlock()
		_ = c.conn.(closeWriter).CloseWrite()
		c.expectEnd()
		if x := g.observed(1); x.Sent != int64(len("early")+len(large)) || x.Received != x.Sent {
			t.Errorf("observed %d out, %d in", x.Sent, x.Received)
		}
	})
}

// A client whose TLS ends without a goodbye ends the conversation.
func TestUpgradeOverTLSCutShort(t *testing.T) {
	run(t, []mode{tlsMode}, Settings{}, func(t *testing.T, g *gateway) {
		ended := make(chan string, 1)
		g.route("/", rawBackend(t, switched(func(_ net.Conn, in *bufio.Reader) {
			got, err := io.ReadAll(in)
			if g.server.loops != nil && !errors.Is(err, syscall.ECONNRESET) { // Go's TLS takes it for an end
				t.Errorf("the upstream got %v", err)
			}
			ended <- string(got)
		})))
		g.apply()
		c := g.talk()
		c.send("half")
		_ = c.conn.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite()
		if got := <-ended; got != "half" {
			t.Errorf("got %q", got)
		}
		c.expectEnd()
		eventually(t, "nothing is relayed", func() bool { return g.server.Stats().Upgraded.Load() == 0 })
	})
}
