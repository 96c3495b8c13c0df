//go:build linux

package loop

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// A reset is no end of a response, also when the kernel has told of it in a write: of more of the
// request's body.
func TestResetInAWriteIsNoEnd(t *testing.T) {
	breaks := make(chan struct{})
	c := newClocked(t, exchange.Settings{}, backendOf(t, func(conn net.Conn, in *bufio.Reader) {
		_, _ = http.ReadRequest(in)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nhalf")
		<-breaks
		_ = conn.(*net.TCPConn).SetLinger(0)
	}))
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
	c.turn("half of the response has come", func() bool { f := c.flight(); return f != nil && f.Report.Sent == int64(len("half")) })
	f := c.flight()
	close(breaks)
	happens := func(fd int, events int16) {
		t.Helper()
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, 10_000); n != 1 || err != nil {
			t.Fatalf("nothing happens: %d, %v", n, err)
		}
	}
	happens(of[*upstream](c.l)[0].fd, 0)
	c.send("wo")
	happens(f.wire.fd, unix.POLLIN)
	f.wire.note(unix.EPOLLIN) // before anything is known of the upstream
	f.wire.act()
	var report exchange.Report
	c.turn("the exchange ends", func() bool { report = f.Report; return f.stage == over })
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); string(body) != "half" || err == nil {
		t.Errorf("half a response is complete: %q", body)
	}
	if report.Cause != exchange.CauseUpstreamReset {
		t.Errorf("cause %q", report.Cause)
	}
}
