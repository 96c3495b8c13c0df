//go:build linux

package loop

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// h2Endpoint is an endpoint that speaks HTTP/2, on one connection.
type h2Endpoint struct {
	t       *testing.T
	backend *router.Backend
	frames  chan http2.Frame // of the proxy; closed with its connection
	framer  *http2.Framer
	conn    net.Conn
}

func newH2Endpoint(t *testing.T) *h2Endpoint {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &h2Endpoint{t: t, frames: make(chan http2.Frame, 100)}
	e.backend = router.NewBackendWith("default/app:80", router.BackendSettings{Protocol: router.H2C})
	e.backend.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(listener.Addr().String())})
	ended := make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(e.frames)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		e.conn, e.framer = conn, http2.NewFramer(conn, conn)
		e.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		close(ready)
		if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		for {
			frame, err := e.framer.ReadFrame()
			if err != nil {
				return
			}
			switch f := frame.(type) {
			case *http2.SettingsFrame, *http2.WindowUpdateFrame:
			case *http2.PingFrame:
				ping := *f // frames are valid until the next one is read
				e.frames <- &ping
			default:
				e.frames <- f
			}
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		select {
		case <-ready:
			e.conn.Close()
		default:
		}
		<-ended
	})
	return e
}

// next waits for a frame; nil is the end of the connection.
func (e *h2Endpoint) next(c *clocked) (frame http2.Frame) {
	e.t.Helper()
	c.turn("a frame of the proxy", func() bool {
		select {
		case frame = <-e.frames:
			return true
		default:
			return false
		}
	})
	return frame
}

// An endpoint that is silent for long while a request waits is asked whether it is there, and
// given up if it does not answer.
func TestSilentTrunkIsAsked(t *testing.T) {
	e := newH2Endpoint(t)
	c := newClocked(t, exchange.Settings{ResponseHeaderTimeout: time.Hour}, e.backend)
	c.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
	if _, ok := e.next(c).(*http2.MetaHeadersFrame); !ok {
		t.Fatal("no request comes")
	}
	c.pass(exchange.UpstreamPing + time.Second)
	ping, ok := e.next(c).(*http2.PingFrame)
	if !ok {
		t.Fatal("it is not asked")
	}
	_ = e.framer.WriteSettings()
	_ = e.framer.WritePing(true, ping.Data)
	var list *trunkList
	for _, list = range c.l.trunks {
		c.turn("its answer comes", func() bool { return list.open[0].asked == never })
	}
	c.pass(exchange.UpstreamPing + time.Second)
	if _, ok := e.next(c).(*http2.PingFrame); !ok {
		t.Fatal("it is not asked again")
	}
	c.pass(exchange.UpstreamPing + time.Second)
	c.turn("the connection ends", func() bool { return len(list.open) == 0 })
	if status := c.answered(); status != http.StatusBadGateway {
		t.Errorf("%d", status)
	}
}

// A connection without requests ends after a while, with a word.
func TestIdleTrunkEnds(t *testing.T) {
	e := newH2Endpoint(t)
	c := newClocked(t, exchange.Settings{UpstreamIdleTimeout: 20 * time.Second, IdleTimeout: time.Hour}, e.backend)
	c.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
	head, ok := e.next(c).(*http2.MetaHeadersFrame)
	if !ok {
		t.Fatal("no request comes")
	}
	_ = e.framer.WriteSettings()
	_ = e.framer.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, head.StreamID, []byte{0x88})
	c.turn("the exchange ends", func() bool { return c.flight() == nil })
	if status := c.answered(); status != http.StatusOK {
		t.Errorf("%d", status)
	}
	c.pass(10 * time.Second)
	if c.stats.Upstream.Load() != 1 {
		t.Error("it has ended already")
	}
	c.pass(11 * time.Second)
	if away, ok := e.next(c).(*http2.GoAwayFrame); !ok || away.ErrCode != http2.ErrCodeNo {
		t.Error("no GOAWAY comes")
	}
	c.turn("the connection ends", func() bool { return c.stats.Upstream.Load() == 0 })
}
