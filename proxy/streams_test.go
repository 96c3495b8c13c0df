package proxy

import (
	"bytes"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A client is told how many streams it may have open, and one more is refused.
func TestMaxConcurrentStreams(t *testing.T) {
	const limit = 3
	run(t, []mode{plainMode}, Settings{MaxConcurrentStreams: limit}, func(t *testing.T, g *gateway) {
		release := make(chan struct{})
		defer close(release)
		g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) { <-release }))
		g.apply()

		c := g.dial()
		c.send(http2.ClientPreface)
		framer := http2.NewFramer(c.conn, c.in)
		if err := framer.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		var head bytes.Buffer
		encoder := hpack.NewEncoder(&head)
		for i := range uint32(limit + 1) {
			head.Reset()
			for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "app.test"}, {":path", "/"}} {
				if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
					t.Fatal(err)
				}
			}
			param := http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true}
			if err := framer.WriteHeaders(param); err != nil {
				t.Fatal(err)
			}
		}
		announced := false
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if n, ok := frame.Value(http2.SettingMaxConcurrentStreams); ok {
					announced = true
					if n != limit {
						t.Errorf("%d streams announced", n)
					}
				}
			case *http2.RSTStreamFrame:
				if frame.StreamID != 2*limit+1 || frame.ErrCode != http2.ErrCodeRefusedStream || !announced {
					t.Errorf("stream %d reset with %v, announced %v", frame.StreamID, frame.ErrCode, announced)
				}
				return
			}
		}
	})
}
