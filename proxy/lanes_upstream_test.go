//go:build linux

package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// player is an upstream that plays scripts, one after the other. A script has an
// answer for each request that comes, whatever the connection, parted by "|". An
// answer is sent as it stands, once the request is there, but for
//
//	^h  as the first: do not wait for the request's body
//	^b  now read that
//	^f  wait until the gateway has read what was sent
//	^L  send 100,000 times "x"
//	^s  finish sending
//	^c  close
//	^r  reset
//	^z  send nothing any more
//	^^  ^
//
// Requests that the script has no answer for get the usual one. An upstream whose answer
// is no whole response closes: what else it does is up to ^z.
type player struct {
	listener net.Listener
	served   sync.WaitGroup
	h2       bool // it speaks HTTP/2 in the clear, see h2Player

	mu   sync.Mutex
	play *play // nil between two scripts
}

const usual = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// play is one performance of a script.
type play struct {
	received atomic.Int64 // bytes from all connections
	served   sync.WaitGroup
	busy     atomic.Int64 // streams of HTTP/2 that are not answered

	mu      sync.Mutex
	answers []string
	conns   []*played
	streams []*h2Played // of all connections, in order
}

// played is one connection; got is complete once it is served.
type played struct {
	conn *net.TCPConn
	play *play
	got  strings.Builder
	sent bytes.Buffer // of the current answer
}

func (c *played) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p)
	c.got.Write(p[:n])
	c.play.received.Add(int64(n))
	return n, err
}

func newPlayer(t testing.TB) *player {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &player{listener: listener}
	u.served.Go(u.accept)
	t.Cleanup(func() {
		listener.Close()
		u.served.Wait()
	})
	return u
}

func (u *player) accept() {
	for {
		conn, err := u.listener.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		p := u.play
		if p == nil {
			u.mu.Unlock()
			conn.Close()
			continue
		}
		c := &played{conn: conn.(*net.TCPConn), play: p}
		p.mu.Lock()
		p.conns = append(p.conns, c)
		p.mu.Unlock()
		serve := c.serve
		if u.h2 {
			serve = c.serveH2
		}
		p.served.Go(serve)
		u.mu.Unlock()
	}
}

// begin plays a script from now on.
func (u *player) begin(script string) *play {
	p := &play{}
	if script != "" {
		p.answers = strings.Split(script, "|")
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.play = p
	return p
}

// end closes all connections, and returns what each has brought. The gateway opens none
// any more.
func (u *player) end(t testing.TB, p *play) []string {
	t.Helper()
	u.allAccepted(t, p)
	u.mu.Lock()
	u.play = nil
	u.mu.Unlock()
	p.mu.Lock() // none comes any more
	conns := p.conns
	p.mu.Unlock()
	for _, c := range conns {
		c.drained()
		c.conn.Close()
	}
	p.served.Wait()
	var all []string
	if u.h2 {
		for _, s := range p.streams {
			all = append(all, s.String())
		}
		return all
	}
	for _, c := range conns {
		all = append(all, c.got.String())
	}
	return all
}

// allAccepted waits until no connection is left that was not accepted. They are in
// their order: once ours is, none is waiting.
func (u *player) allAccepted(t testing.TB, p *play) {
	t.Helper()
	last, err := net.Dial("tcp", u.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	for w := newWait(); w.goesOn(); {
		p.mu.Lock()
		i := slices.IndexFunc(p.conns, func(c *played) bool { return c.conn.RemoteAddr().String() == last.LocalAddr().String() })
		if i >= 0 {
			p.conns[i].conn.Close()
			p.conns = slices.Delete(p.conns, i, i+1)
		}
		p.mu.Unlock()
		if i >= 0 {
			return
		}
	}
	t.Error("a connection is not accepted")
}

// drained waits until everything that has come was read.
func (c *played) drained() {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return
	}
	for w := newWait(); w.goesOn(); {
		unread := 0
		err := raw.Control(func(fd uintptr) { unread, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
		if err != nil || unread == 0 {
			return
		}
	}
}

// next returns the answer to the request that came now.
func (p *play) next() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.answers) == 0 {
		return usual
	}
	answer := p.answers[0]
	p.answers = p.answers[1:]
	return answer
}

func (c *played) serve() {
	defer c.conn.Close()
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			break
		}
		answer := c.play.next()
		if strings.HasPrefix(answer, "^h") {
			answer = answer[2:]
		} else if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		c.sent.Reset()
		if !c.answer(answer, req.Body) || !c.whole(req) {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
	}
	_, _ = io.Copy(io.Discard, in)
}

func (c *played) send(s string) (int, error) {
	c.sent.WriteString(s)
	return io.WriteString(c.conn, s)
}

// whole reports whether all of the response to a request was sent.
func (c *played) whole(req *http.Request) bool {
	in := bufio.NewReader(&c.sent)
	for {
		res, err := http.ReadResponse(in, req)
		if err != nil {
			return false
		}
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return false
		}
		return !res.Close || res.ContentLength >= 0
	}
}

// answer plays one answer, and reports whether the connection goes on.
func (c *played) answer(answer string, body io.Reader) bool {
	for answer != "" {
		plain, rest, found := strings.Cut(answer, "^")
		if _, err := c.send(plain); err != nil {
			return false
		}
		if !found || rest == "" {
			return true
		}
		answer = rest[1:]
		switch rest[0] {
		case '^':
			_, _ = c.send("^")
		case 'L':
			_, _ = c.send(strings.Repeat("x", 100_000))
		case 'b':
			_, _ = io.Copy(io.Discard, body)
		case 'f':
			f := far{near: netip.MustParseAddrPort(c.conn.LocalAddr().String())}
			f.read(func() bool { return true })
		case 's':
			_ = c.conn.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
			return false
		case 'z':
			_, _ = io.Copy(io.Discard, c)
			return false
		case 'r':
			_ = c.conn.SetLinger(0)
			return false
		case 'c':
			return false
		}
	}
	return true
}
