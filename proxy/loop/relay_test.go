//go:build linux

package loop

import (
	"bufio"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// connected returns a connection, and the descriptor of its peer.
func connected(t *testing.T) (net.Conn, int) {
	t.Helper()
	listener := listen(t, nil)
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	_ = near.SetDeadline(time.Now().Add(20 * time.Second))
	far, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	raw, err := far.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	_ = raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	return near, fd
}

// relaying returns both ends of a relay.
func relaying(t *testing.T, r *rig, p Pair) (client, upstream net.Conn, relay *Relay) {
	t.Helper()
	client, p.Client = connected(t)
	upstream, p.Upstream = connected(t)
	return client, upstream, r.group.Relay(p)
}

func expectBytes(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func expectClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatal("it goes on")
	} else if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		t.Fatal("it is not closed")
	}
}

func expectCounts(t *testing.T, relay *Relay, toUpstream, toClient int64) {
	t.Helper()
	if up, down := relay.Wait(); up != toUpstream || down != toClient {
		t.Errorf("%d bytes to the upstream and %d to the client, want %d and %d", up, down, toUpstream, toClient)
	}
}

// What was read already goes first; and silence ends a relay once a side has ended.
func TestRelayHalfClosed(t *testing.T) {
	const limit = 30 * time.Second
	for _, first := range []string{"client", "upstream"} {
		t.Run(first, func(t *testing.T) {
			c := newClocked(t, exchange.Settings{}, backendOf(t, echoing(0)))
			p := Pair{
				Pending: []byte("pending"), Early: []byte("early"),
				WriteLimit: time.Minute, HalfClosedLimit: limit,
			}
			var client, upstream net.Conn
			client, p.Client = connected(t)
			upstream, p.Upstream = connected(t)
			relay := (&Group{loops: []*loop{c.l}}).Relay(p)
			c.l.readMail()
			c.l.flush()
			expectBytes(t, client, "early")
			expectBytes(t, upstream, "pending")
			c.pass(3 * limit) // both may be silent
			ends, stays, passed := client, upstream, &relay.client.passed
			if first == "upstream" {
				ends, stays, passed = stays, ends, &relay.upstream.passed
			}
			_ = ends.(*net.TCPConn).CloseWrite()
			c.turn("the end is passed on", func() bool { return relay.half })
			expectClosed(t, stays)
			for range 4 {
				c.pass(limit - time.Second) // no silence
				_, _ = stays.Write([]byte("on"))
				before := *passed
				c.turn("what comes is passed on", func() bool { return *passed == before+int64(len("on")) })
				expectBytes(t, ends, "on")
			}
			if c.pass(limit - time.Second); relay.over {
				t.Error("it has ended too soon")
			}
			if c.pass(2 * time.Second); !relay.over {
				t.Fatal("it has not ended")
			}
			expectClosed(t, ends)
			if first == "client" {
				expectCounts(t, relay, int64(len("pending")), int64(len("earlyonononon")))
			} else {
				expectCounts(t, relay, int64(len("pendingonononon")), int64(len("early")))
			}
		})
	}
}

// A relay ends when it is told to, when the Group ends, and when that has ended before.
func TestRelayCut(t *testing.T) {
	r := newRig(t, func(net.Conn, *bufio.Reader) {})
	limits := Pair{WriteLimit: time.Minute, HalfClosedLimit: time.Minute}
	client, upstream, relay := relaying(t, r, limits)
	_, _ = client.Write([]byte("a"))
	expectBytes(t, upstream, "a")
	relay.Cut()
	expectClosed(t, client)
	expectClosed(t, upstream)
	expectCounts(t, relay, 1, 0)
	relay.Cut()

	client, upstream, relay = relaying(t, r, limits)
	r.end()
	expectClosed(t, client)
	expectClosed(t, upstream)
	expectCounts(t, relay, 0, 0)
	relay.Cut()

	client, upstream, relay = relaying(t, r, limits)
	expectClosed(t, client)
	expectClosed(t, upstream)
	expectCounts(t, relay, 0, 0)
}

// An idle relay holds no buffer, also after it had one.
func TestRelayHoldsNoBuffers(t *testing.T) {
	r := newRig(t, func(net.Conn, *bufio.Reader) {})
	client, upstream, relay := relaying(t, r, Pair{WriteLimit: time.Minute, HalfClosedLimit: time.Minute})
	const much = 32 << 20
	go func() { _, _ = client.Write(make([]byte, much)) }()
	if _, err := io.CopyN(io.Discard, upstream, much); err != nil {
		t.Fatal(err)
	}
	held := make(chan bool)
	relay.loop.box.put(func() { held <- relay.client.waiting != nil || relay.upstream.waiting != nil })
	if <-held {
		t.Error("it holds buffers")
	}
	client.Close()
	upstream.Close()
	expectCounts(t, relay, much, 0)
}

// What an upstream has sent before it closed all of its connection reaches the client, also
// when that has made the kernel refuse what the client still sends.
func TestRelayDeliversLastWords(t *testing.T) {
	r := newRig(t, func(net.Conn, *bufio.Reader) {})
	p := Pair{Pending: []byte("too late"), WriteLimit: time.Minute, HalfClosedLimit: time.Minute}
	client, toClient := connected(t)
	upstream, toUpstream := connected(t)
	p.Client, p.Upstream = toClient, toUpstream
	if _, err := upstream.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	upstream.Close()
	if _, err := unix.Write(toUpstream, []byte("x")); err != nil {
		t.Fatal(err)
	}
	events := []unix.PollFd{{Fd: int32(toUpstream)}}
	if n, err := unix.Poll(events, 10_000); n != 1 || err != nil || events[0].Revents&unix.POLLERR == 0 {
		t.Fatalf("no reset: %d, %v, %#x", n, err, events[0].Revents)
	}
	relay := r.group.Relay(p)
	expectBytes(t, client, "last words")
	if n, err := client.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		t.Errorf("and then %v", err)
	}
	_, _ = client.Write([]byte("later still"))
	client.Close()
	expectCounts(t, relay, 0, int64(len("last words")))
	if cause := relay.Cause(); cause != exchange.CauseNone {
		t.Errorf("cause %q", cause)
	}
}

// What gathered and was sent counts, also when what comes behind it is not taken.
func TestRelayCountsWhatGathered(t *testing.T) {
	c := newClocked(t, exchange.Settings{}, backendOf(t, echoing(0)))
	g := &Group{loops: []*loop{c.l}}
	p := Pair{WriteLimit: time.Minute, HalfClosedLimit: time.Minute}
	client, fd := connected(t)
	p.Client = fd
	upstream, fd := connected(t)
	p.Upstream = fd
	relay := g.Relay(p)
	c.l.readMail()
	c.l.dispatch(c.l.poller.wait(10)) // both can be written to
	_, _ = client.Write([]byte("words"))
	c.collect(func() bool { return relay.upstream.untried })
	upstream.Close()
	_, _ = client.Write(make([]byte, 2*gatherSize))
	client.Close()
	relay.client.readable = true // as if that came together with the words
	relay.client.ready()
	c.turn("the relay ends", func() bool { return relay.over })
	expectCounts(t, relay, int64(len("words")), 0)
}

// An end that comes together with last words follows them, although the other side takes these
// late, or nothing any more.
func TestRelayEndsBehindLastWords(t *testing.T) {
	for _, test := range []struct {
		name               string
		before             func(upstream net.Conn, fd int) (sent int)
		pends              bool
		toUpstream, answer int
	}{
		{"late", func(upstream net.Conn, fd int) (sent int) {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096)
			_ = upstream.(*net.TCPConn).SetReadBuffer(4096)
			for {
				n, err := unix.Write(fd, make([]byte, 1000))
				if err != nil {
					return sent
				}
				sent += n
			}
		}, true, gatherSize, 0},
		{"nothing", func(upstream net.Conn, fd int) int {
			_, _ = upstream.Write([]byte("answer"))
			upstream.Close()
			_, _ = unix.Write(fd, []byte("x")) // which brings a reset
			events := []unix.PollFd{{Fd: int32(fd)}}
			_, _ = unix.Poll(events, 10_000)
			return 0
		}, false, 0, len("answer")},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClocked(t, exchange.Settings{}, backendOf(t, echoing(0)))
			p := Pair{WriteLimit: time.Minute, HalfClosedLimit: time.Minute}
			client, fd := connected(t)
			p.Client = fd
			upstream, fd := connected(t)
			p.Upstream = fd
			g := &Group{loops: []*loop{c.l}}
			relay := g.Relay(p)
			c.l.readMail()
			c.l.dispatch(c.l.poller.wait(10))
			sent := test.before(upstream, fd)
			_, _ = client.Write(make([]byte, gatherSize))
			_ = client.(*net.TCPConn).CloseWrite()
			events := []unix.PollFd{{Fd: int32(p.Client), Events: unix.POLLRDHUP}}
			if n, err := unix.Poll(events, 10_000); n != 1 || err != nil {
				t.Fatalf("no end: %d, %v", n, err)
			}
			relay.client.note(unix.EPOLLIN | unix.EPOLLRDHUP) // before anything is known of the upstream
			relay.client.ready()
			if pends := relay.upstream.pending() > 0; pends != test.pends {
				t.Fatalf("pending %v", pends)
			}
			got := make(chan int, 1)
			go func() {
				all, _ := io.ReadAll(upstream)
				upstream.Close()
				got <- len(all)
			}()
			c.turn("the relay ends", func() bool { return relay.over })
			if n := <-got; n != sent+test.toUpstream {
				t.Errorf("the upstream got %d bytes", n)
			}
			if all, err := io.ReadAll(client); len(all) != test.answer || err != nil {
				t.Errorf("the client got %q, %v", all, err)
			}
			expectCounts(t, relay, int64(test.toUpstream), int64(test.answer))
			if relay.Cause() != exchange.CauseNone {
				t.Errorf("cause %q", relay.Cause())
			}
		})
	}
}

// The end of a side of a relay comes after its last words, although both come at once.
func TestRelayEndsBehindWhatGathers(t *testing.T) {
	r := newRig(t, func(net.Conn, *bufio.Reader) {})
	for _, first := range []string{"client", "upstream"} {
		t.Run(first, func(t *testing.T) {
			p := Pair{WriteLimit: time.Minute, HalfClosedLimit: time.Minute}
			client, fd := connected(t)
			p.Client = fd
			upstream, fd := connected(t)
			p.Upstream = fd
			ends, stays := client, upstream
			if first == "upstream" {
				ends, stays = stays, ends
			}
			_, _ = ends.Write([]byte("last words"))
			_ = ends.(*net.TCPConn).CloseWrite()
			relay := r.group.Relay(p)
			expectBytes(t, stays, "last words")
			if n, err := stays.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
				t.Errorf("and then %v", err)
			}
			_, _ = stays.Write([]byte("answer"))
			stays.Close()
			expectBytes(t, ends, "answer")
			expectClosed(t, ends)
			if first == "client" {
				expectCounts(t, relay, 10, 6)
			} else {
				expectCounts(t, relay, 6, 10)
			}
		})
	}
}
