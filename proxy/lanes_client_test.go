//go:build linux

package proxy

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// longest is how long a client that does not finish waits: longer than the gateways,
// unless the connection was upgraded.
const longest = 600 * time.Millisecond

// patience bounds everything that a test waits for; it is never reached but by a lane
// that hangs.
const patience = 4 * time.Second

// wait is a loop's wait for what comes from other goroutines, at once most of the time:
// a timer would take a millisecond.
type wait struct {
	turns int
	end   time.Time
}

func newWait() *wait { return &wait{end: time.Now().Add(patience)} }

// goesOn lets others run, and reports whether there is time left.
func (w *wait) goesOn() bool {
	if w.turns++; w.turns%8 != 0 {
		runtime.Gosched()
		return true
	}
	time.Sleep(time.Microsecond) // for a moment nothing can run, so the network is polled
	return time.Now().Before(w.end)
}

// laneSettled waits until a gateway has done with its client, and reports whether it
// has.
func laneSettled(stats *Stats, quiet func() bool) bool {
	for w := newWait(); w.goesOn(); {
		if stats.Downstream.Load() == 0 && quiet() && stats.Upgraded.Load() == 0 {
			return true
		}
	}
	return false
}

// activity is what a client cannot see.
type activity struct {
	moved func() int64 // changes whenever something happens
	idle  func() bool  // no exchange is under way upstream
}

// sender is a client.
type sender struct {
	conn  *net.TCPConn
	far   far
	got   strings.Builder // once ended is closed
	size  atomic.Int64    // of got
	end   string
	ended chan struct{}
}

func connectSender(t testing.TB, g *gateway) *sender {
	t.Helper()
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		t.Fatal(err)
	}
	c := &sender{conn: conn.(*net.TCPConn), ended: make(chan struct{})}
	c.far.near = netip.MustParseAddrPort(conn.LocalAddr().String())
	_ = conn.SetDeadline(time.Now().Add(patience))
	go c.receive()
	return c
}

// How a connection may end.
const (
	orderlyEnd = "then the end"
	resetEnd   = "then a reset"
	noEnd      = "then nothing"
)

// receive reads until the connection ends, and keeps all of it.
func (c *sender) receive() {
	defer close(c.ended)
	buf := make([]byte, 16<<10)
	for {
		n, err := c.conn.Read(buf)
		c.got.Write(buf[:n])
		c.size.Add(int64(n))
		switch {
		case err == nil:
			continue
		case err == io.EOF:
			c.end = orderlyEnd
		case errors.Is(err, syscall.ECONNRESET):
			c.end = resetEnd
		default:
			c.end = noEnd
		}
		return
	}
}

// over reports whether nothing comes any more.
func (c *sender) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// send sends the input. Each piece is read by the gateway before the next goes out.
func (c *sender) send(s sending, elsewhere activity) {
	all := pieces(s.input, s.how)
	for i, piece := range all {
		if _, err := io.WriteString(c.conn, piece); err != nil {
			return
		}
		if i < len(all)-1 {
			c.far.read(c.over)
		}
	}
	if s.how&cutMask == cutNotSilent {
		_ = c.conn.SetReadDeadline(time.Now().Add(longest))
		return
	}
	if s.how&lateEnd != 0 {
		c.far.read(c.over)
		c.rest(s.calm, elsewhere)
	}
	_ = c.conn.CloseWrite()
}

// rest waits until the gateway is done with all that was sent: no exchange is under way
// and nothing moves for a while; or until it seems to wait for more.
func (c *sender) rest(calm time.Duration, elsewhere activity) {
	const stalled = 20 // times as long
	was, since := int64(-1), time.Now()
	for w := newWait(); !c.over() && w.goesOn(); {
		if now := elsewhere.moved() + c.size.Load(); now != was {
			was, since = now, time.Now()
		}
		if still := time.Since(since); still > stalled*calm || still > calm && elsewhere.idle() {
			return
		}
	}
}

// far is the gateway's side of a connection, seen from ours: both are descriptors of
// this process.
type far struct {
	near    netip.AddrPort // our address
	fd      int
	failure error // of the look at the last descriptor
}

// mostUnused bounds the unused descriptors in a row that are looked at: new ones take
// the lowest number that is free.
const mostUnused = 64

// read waits until the gateway has read what was sent, or has closed its side. Then
// over is true.
func (f *far) read(over func() bool) {
	for w := newWait(); w.goesOn(); {
		if !f.found() {
			if over() {
				return
			}
			continue // it was not accepted yet, or is on its way to the other lane
		}
		if unread, err := unix.IoctlGetInt(f.fd, unix.SIOCINQ); err == nil && unread == 0 {
			return
		}
	}
}

// found looks for the descriptor whose peer we are. It may change, as connections go
// from lane to lane.
func (f *far) found() bool {
	if f.fd > 0 && f.is(f.fd) {
		return true
	}
	unused := 0
	for f.fd = 3; unused < mostUnused; f.fd++ {
		if f.is(f.fd) {
			return true
		}
		if unused++; !errors.Is(f.failure, unix.EBADF) {
			unused = 0
		}
	}
	f.fd = 0
	return false
}

func (f *far) is(fd int) bool {
	var peer unix.Sockaddr
	if peer, f.failure = unix.Getpeername(fd); f.failure != nil {
		return false
	}
	v4, ok := peer.(*unix.SockaddrInet4)
	return ok && netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), uint16(v4.Port)) == f.near
}
