package proxy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// A client of HTTP/2 that makes room for a byte now and then (CVE-2019-9511) keeps no
// stream; a slow link does.
func TestSlowDownloadOverH2(t *testing.T) {
	const size = 5000
	serve := answering(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)))
	for _, test := range []struct {
		name  string
		room  uint32 // that the client makes every 10 s
		most  time.Duration
		whole bool
	}{
		{"trickle", 1, 40 * time.Second, false}, // the last byte comes with the reset
		{"slow link", 1000, time.Minute, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubbleWith(t, Settings{}, serve, func(t *testing.T, g *gateway, dial func() *raw) {
				c := dial()
				start := time.Now()
				got, whole := slowly(t, c, test.room)
				between(t, "the stream ends", start, 0, test.most)
				if whole != test.whole || whole && got != size {
					t.Errorf("whole %v, %d bytes", whole, got)
				}
				c.conn.Close()
				if x := g.observed(1); (x.Cause == exchange.CauseClientStalled) == test.whole {
					t.Errorf("cause %q", x.Cause)
				}
			})
		})
	}
}

// slowly gets a response over HTTP/2, making room for some bytes every 10 s, and returns
// how many came, and whether these were all.
func slowly(t *testing.T, c *raw, room uint32) (got int, whole bool) {
	t.Helper()
	c.send(http2.ClientPreface)
	framer := http2.NewFramer(c.conn, c.in)
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}))
	var head bytes.Buffer
	encoder := hpack.NewEncoder(&head)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/"}} {
		check(encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	check(framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true}))
	for {
		frame, err := framer.ReadFrame()
		check(err)
		switch frame := frame.(type) {
		case *http2.DataFrame:
			got += len(frame.Data())
			if frame.StreamEnded() {
				return got, true
			}
			time.Sleep(10 * time.Second)
			check(framer.WriteWindowUpdate(1, room))
		case *http2.RSTStreamFrame:
			return got, false
		}
	}
}
