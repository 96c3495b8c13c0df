package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// What a client says before it has an answer goes upstream behind the request.
func TestWebSocketEarlyWordsOverH2(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", socketBackend(t, func(conn net.Conn, in *bufio.Reader) { _, _ = io.Copy(conn, in) }))
		g.apply()
		r := g.dialH2()
		for id := uint32(1); id < 40; id += 2 {
			r.head(id, 0, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "app.test", ":path", "/")
			for range 8 {
				r.must(r.frames.WriteData(id, false, []byte("early")))
			}
			r.must(r.frames.WriteData(id, true, nil))
			if status, got := r.status(id), r.body(id); status != "200" || got != strings.Repeat("early", 8) {
				t.Fatalf("%s %q", status, got)
			}
		}
	})
}

// What a client has said before it ended a tunnel, which the upstream had ended, reaches an
// upstream that is slow, although the client's connection is closed meanwhile.
func TestWebSocketLastWordsOverH2(t *testing.T) {
	runAtOnce(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		left, got := make(chan struct{}), make(chan int, 1)
		g.route("/", socketBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_ = conn.(closeWriter).CloseWrite()
			<-left
			var all pattern
			if _, err := io.Copy(&all, in); err != nil || all.wrong {
				t.Errorf("%v, wrong %v", err, all.wrong)
			}
			got <- all.at
		}))
		g.apply()
		c, err := g.dialH2Client()
		if err != nil {
			t.Fatal(err)
		}
		e := &h2End{c: c}
		_ = e.open("", false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "app.test", ":path", "/")
		if rest, err := io.ReadAll(e); len(rest) > 0 || err != nil {
			t.Fatalf("%q, %v", rest, err)
		}
		said := &pattern{}
		for last := time.Now(); time.Since(last) < 300*time.Millisecond; { // as fill does
			c.mu.Lock()
			room := c.room.left(e.id)
			c.mu.Unlock()
			if room == 0 {
				time.Sleep(time.Millisecond)
				continue
			}
			last = time.Now()
			_, _ = io.CopyN(e, said, room)
		}
		_ = e.CloseWrite()
		gone := make(chan struct{})
		go func() {
			c.close()
			close(gone)
		}()
		select {
		case <-gone:
		case <-time.After(100 * time.Millisecond): // the gateway may not let it go before all has come
		}
		close(left)
		if n := <-got; n != said.at {
			t.Errorf("%d bytes of %d came", n, said.at)
		}
		if x := g.observed(1); x.Received != int64(said.at) {
			t.Errorf("observed %d bytes", x.Received)
		}
		<-gone
	})
}

// A Report counts what the client of a tunnel has got that it resets then.
func TestWebSocketResetIsCounted(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", socketBackend(t, func(conn net.Conn, in *bufio.Reader) { _, _ = io.CopyN(conn, &pattern{}, 1<<20) }))
		g.apply()
		r := g.dialH2()
		r.openSocket(1)
		const window = 65535
		_ = r.payload(1, window)
		r.must(r.frames.WriteRSTStream(1, http2.ErrCodeCancel))
		if x := g.observed(1); x.Sent < window {
			t.Errorf("%d bytes are reported, and the client has %d", x.Sent, window)
		}
	})
}

// An endpoint that has said all may reset the stream, as it wants to hear no more (RFC 9113 §8.1):
// the client gets what it has said, although it talks to nobody.
func TestWebSocketLastWordsOfH2Endpoint(t *testing.T) {
	const size, slow = 60_000, 10_000
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		reset := make(chan struct{})
		connects := http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1}
		g.route("/", rawH2Backend(t, func(e *rawH2Endpoint) {
			stream := e.next().Header().StreamID
			e.head(stream, 0, ":status", "200")
			words := &pattern{}
			for words.at < size {
				_ = e.frames.WriteData(stream, false, words.next(min(size-words.at, slow)))
			}
			_ = e.frames.WriteData(stream, true, nil)
			_ = e.frames.WriteRSTStream(stream, http2.ErrCodeNo)
			_ = e.frames.WritePing(false, [8]byte{})
			for {
				frame, err := e.frames.ReadFrame()
				if err != nil {
					return
				}
				if ping, ok := frame.(*http2.PingFrame); ok && ping.IsAck() {
					close(reset)
				}
			}
		}, connects))
		g.apply()
		r := g.dialH2(http2.Setting{ID: http2.SettingInitialWindowSize, Val: slow})
		r.openSocket(1)
		var got pattern
		_, _ = io.WriteString(&got, r.payload(1, slow))
		<-reset
		r.must(r.frames.WriteData(1, false, []byte("is there anybody?")))
		for range 10 { // round trips in which that meets the end of the stream
			r.ping()
		}
		r.must(r.frames.WriteWindowUpdate(1, size))
		_, _ = io.WriteString(&got, r.body(1))
		if got.at != size || got.wrong {
			t.Errorf("%d bytes, wrong %v", got.at, got.wrong)
		}
	})
}
