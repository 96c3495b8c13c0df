//go:build linux

package loop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// listen serves connections, if serve is not nil, until the test ends.
func listen(t *testing.T, serve func(net.Conn, *bufio.Reader)) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if serve == nil {
		return l
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				serve(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l
}

// backendOf is a Backend whose one endpoint serves connections.
func backendOf(t *testing.T, serve func(net.Conn, *bufio.Reader)) *router.Backend {
	t.Helper()
	backend := router.NewBackend("default/app:80")
	backend.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(listen(t, serve).Addr().String())})
	return backend
}

// answering reads requests one after the other, and has each of them answered.
func answering(answer func(net.Conn, *http.Request)) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, in *bufio.Reader) {
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			answer(conn, req)
		}
	}
}

// echoing answers each request with its path, and dots behind it up to size.
func echoing(size int) func(net.Conn, *bufio.Reader) {
	return answering(func(conn net.Conn, req *http.Request) {
		body := req.URL.Path + strings.Repeat(".", max(0, size-len(req.URL.Path)))
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	})
}
