package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// Frames that cost more than they bring end the connection, and no other one. Package h2 has
// the whole list of them.
func TestFloodsOverH2(t *testing.T) {
	for name, f := range map[string]struct {
		begin func(*rawH2)
		again func(*rawH2) error
	}{
		"PING":     {func(*rawH2) {}, func(r *rawH2) error { return r.frames.WritePing(false, [8]byte{}) }},
		"SETTINGS": {func(*rawH2) {}, func(r *rawH2) error { return r.frames.WriteSettings() }},
		"CONTINUATION": {
			func(r *rawH2) {
				r.must(r.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}))
			},
			func(r *rawH2) error { return r.frames.WriteContinuation(1, false, nil) },
		},
		"empty DATA": {
			func(r *rawH2) {
				r.head(1, 0, ":method", "POST", ":scheme", "http", ":authority", "app.test", ":path", "/")
			},
			func(r *rawH2) error { return r.frames.WriteData(1, false, nil) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
				g.route("/", httpBackend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
				g.route("/418").Action.Status = 418
				g.apply()
				r := g.dialH2()
				f.begin(r)
				flooding := make(chan struct{})
				go func() {
					defer close(flooding)
					for range 1 << 20 {
						if f.again(r) != nil {
							return
						}
					}
				}()
				for {
					frame, err := r.frames.ReadFrame()
					if isTimeout(err) {
						t.Fatal("the connection does not end")
					}
					if err != nil {
						break // it may be a reset, with the flood still coming
					}
					if f, ok := frame.(*http2.GoAwayFrame); ok && f.ErrCode != http2.ErrCodeEnhanceYourCalm {
						t.Errorf("%v", f)
					}
				}
				r.conn.Close()
				<-flooding
				if res, _ := g.get("/418"); res.StatusCode != 418 {
					t.Errorf("another connection: %d", res.StatusCode)
				}
			})
		})
	}
}

// A head of some kilobytes that names a long field a thousand times over is refused as the large
// one that it is.
func TestHPACKBombOverH2(t *testing.T) {
	run(t, rawH2Modes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/").Action.Status = 204
		g.apply()
		r := g.dialH2()
		r.get(1, "/", "x-long", strings.Repeat("x", 3000))
		if s := r.status(1); s != "204" {
			t.Fatalf("the first head: %s", s)
		}
		block := []byte{0x82, 0x86, 0x84, 0x41, 0x01, 'a'} // GET http / of a
		for range 4000 {
			block = append(block, 0xbf) // the long field, which stands behind the authority now
		}
		r.must(r.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block, EndHeaders: true, EndStream: true}))
		if s := r.status(3); s != "431" {
			t.Errorf("the bomb: %s", s)
		}
	})
}
