package proxy

import (
	"io"
	"testing"

	"golang.org/x/net/http2"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// A response that has begun is not asked for again, however soon it came and its stream was
// reset: a second one would go on where the first was cut, and look like its end.
func TestResponseThatWasResetAtOnce(t *testing.T) {
	t.Run("INTERNAL_ERROR", func(t *testing.T) { resetAtOnce(t, http2.ErrCodeInternal) })
	t.Run("REFUSED_STREAM", func(t *testing.T) { resetAtOnce(t, http2.ErrCodeRefusedStream) }) // which is not true then
}

func resetAtOnce(t *testing.T, code http2.ErrCode) {
	const exchanges = 200 // a few of which are answered before their request is known to be sent
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawH2Backend(t, func(e *rawH2Endpoint) {
			for stream := e.request(); stream != 0; stream = e.request() {
				e.head(stream, 0, ":status", "200", "content-length", "100")
				_ = e.frames.WriteData(stream, false, make([]byte, 90))
				_ = e.frames.WriteRSTStream(stream, code)
			}
		}))
		g.apply()
		for n := 1; n <= exchanges; n++ {
			res, err := g.client.Get(g.url("/"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != 200 || err == nil || len(body) != 90 {
				t.Fatalf("%d, %d bytes: %v", res.StatusCode, len(body), err)
			}
			if x := g.observed(n); x.Cause != exchange.CauseUpstreamReset || x.Attempts != 1 || x.Sent != 90 {
				t.Fatalf("cause %q after %d attempts, %d bytes", x.Cause, x.Attempts, x.Sent)
			}
		}
	})
}
