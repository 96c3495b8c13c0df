//go:build linux

package loop

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// busily is a user that goes on in each turn, and tells when.
type busily struct {
	conn
	goesOn func()
}

func (b *busily) ready() {
	b.goesOn()
	b.loop.resume(&b.conn)
}

// Connections that move much go on behind the answers of others, and those behind one of them.
func TestAnswersPassThoseThatMoveMuch(t *testing.T) {
	c := newClocked(t, exchange.Settings{}, backendOf(t, echoing(100)))
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	times := 0
	var busy [3]busily
	for i := range busy {
		b := &busy[i]
		b.loop, b.user = c.l, b
		b.goesOn = func() {
			if times++; c.answerGathers() {
				t.Error("one goes on although an answer gathers")
			}
		}
	}
	c.send(request)
	c.collect(c.answerGathers)
	c.l.resume(&busy[0].conn)
	c.l.resume(&busy[1].conn)
	c.l.goOn()
	if status := c.answered(); status != 200 || times != 2 {
		t.Errorf("status %d, %d went on", status, times)
	}
	c.l.again.take()
	c.l.again.done()

	// The same within the events of one turn.
	c.send(request)
	c.collect(c.answerGathers)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	busy[2].goesOn = func() { times++ }
	if !busy[2].open(c.l, &busy[2], pair[0]) {
		t.Fatal("no epoll")
	}
	c.l.dispatch(c.l.poller.wait(1000))
	if times != 3 || c.answerGathers() {
		t.Error("the answer gathers still behind one that goes on")
	}
	c.l.again.take()
	c.l.again.done()
	busy[2].close()
	c.answered()
}

// corked sends all but what it was given first together.
type corked struct {
	net.Conn
	begun bool
	rest  []byte
}

func (c *corked) Write(p []byte) (int, error) {
	if !c.begun {
		c.begun = true
		return c.Conn.Write(p)
	}
	c.rest = append(c.rest, p...)
	return len(p), nil
}

// A request that comes together with the end of a handshake does not wait for other handshakes.
func TestRequestBehindAHandshakeIsSent(t *testing.T) {
	asked := make(chan string, 2)
	c := newClocked(t, exchange.Settings{}, backendOf(t, answering(func(conn net.Conn, req *http.Request) {
		asked <- req.URL.Path
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})))
	c.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
	c.turn("the upstream connection is idle", func() bool { return c.stats.UpstreamIdle.Load() == 1 })
	<-asked
	near, fd := connected(t)
	c.l.accept(&Incoming{FD: fd, Socket: shaking{c, t, tlsServer(t)}, Handshake: true})
	go func() {
		cork := &corked{Conn: near}
		client := tls.Client(cork, &tls.Config{InsecureSkipVerify: true})
		_, _ = io.WriteString(client, "GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
		_, _ = near.Write(cork.rest)
	}()
	for end := time.Now().Add(10 * time.Second); len(of[*downstream](c.l)) < 2; {
		if time.Now().After(end) {
			t.Fatal("the handshake takes for ever")
		}
		c.l.dispatch(c.l.poller.wait(10))
		c.l.flush()
		c.l.shake()
	}
	select {
	case path := <-asked:
		if path != "/second" {
			t.Errorf("asked for %q", path)
		}
	case <-time.After(10 * time.Second):
		t.Error("the request still gathers")
	}
	c.l.flush()
}
