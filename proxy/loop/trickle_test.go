//go:build linux

package loop

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// A client of HTTP/2 that makes room for a byte now and then (CVE-2019-9511) keeps no
// stream; a slow link does.
func TestSlowDownloadOverH2(t *testing.T) {
	for _, test := range []struct {
		name  string
		size  int
		room  uint32 // that the client makes every 10 s
		times int
		whole bool
	}{
		{"trickle", 5000, 1, 4, false}, // the last byte comes with the reset
		{"trickle of more than is read at once", 500_000, 1, 4, false},
		{"slow link", 5000, 1000, 5, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClocked(t, exchange.Settings{}, sending(t, strings.Repeat("x", test.size)))
			for _, conn := range c.l.conns {
				if conn != nil {
					conn.user.(*downstream).multiplex()
				}
			}
			framer := http2.NewFramer(c.client, c.in)
			check := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			c.send("%s", http2.ClientPreface)
			check(framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}))
			var head bytes.Buffer
			encoder := hpack.NewEncoder(&head)
			for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}} {
				check(encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
			}
			check(framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true}))

			got, times, whole := 0, 0, false
			for over := false; !over; {
				frame := make(chan http2.Frame, 1)
				go func() {
					next, err := framer.ReadFrame()
					if err != nil {
						t.Error(err)
					}
					frame <- next
				}()
				var next http2.Frame
				c.turn(fmt.Sprintf("a frame comes after %d", times), func() bool {
					select {
					case next = <-frame:
						return true
					default:
						return false
					}
				})
				switch next := next.(type) {
				case nil:
					over = true
				case *http2.DataFrame:
					got += len(next.Data())
					if over, whole = next.StreamEnded(), next.StreamEnded(); over {
						break
					}
					c.pass(10 * time.Second)
					times++
					check(framer.WriteWindowUpdate(1, test.room))
				case *http2.RSTStreamFrame:
					over = true
				}
			}
			if whole != test.whole || whole && got != test.size || times != test.times {
				t.Errorf("whole %v, %d bytes, room made %d times", whole, got, times)
			}
		})
	}
}

// sending is a Backend that answers the requests of one connection with a body.
func sending(t *testing.T, body string) *router.Backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		for {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			// In one piece, so that it comes in one.
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
	backend := router.NewBackend("default/app:80")
	backend.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(listener.Addr().String())})
	return backend
}
