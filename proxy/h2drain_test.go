package proxy

import (
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// A socket that goes lets streams end, and takes those that were on their way.
func TestDrainOfH2(t *testing.T) {
	runAtOnce(t, rawH2Modes, Settings{DrainTimeout: 10 * time.Second}, func(t *testing.T, g *gateway) {
		arrived, release := make(chan struct{}), make(chan struct{})
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				arrived <- struct{}{}
				<-release
			}
			_, _ = io.WriteString(w, "ok")
		}))
		g.apply()
		r := g.dialH2()
		r.get(1, "/slow")
		<-arrived
		g.stop()
		first, ok := r.next().(*http2.GoAwayFrame)
		if !ok || first.LastStreamID != 1<<31-1 || first.ErrCode != http2.ErrCodeNo {
			t.Fatalf("%v", first)
		}
		second, ok := r.next().(*http2.GoAwayFrame) // next has answered the PING between
		if !ok || second.LastStreamID != 1 {
			t.Fatalf("%v", second)
		}
		close(release)
		if s, body := r.status(1), r.body(1); s != "200" || body != "ok" {
			t.Errorf("%s %q", s, body)
		}
		if f := r.next(); f != nil {
			t.Errorf("%v", f)
		}
		<-g.ended
	})
}

// A client that has connected and not asked yet still can when the socket goes: who is told of the
// end before has to take the connection for one that can't be made.
func TestDrainOfH2BeforeTheFirstRequest(t *testing.T) {
	runAtOnce(t, rawH2Modes, Settings{DrainTimeout: 10 * time.Second}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
		g.apply()
		r := g.dialH2()
		address := g.address()
		g.stop()
		eventually(t, "nobody else can connect", func() bool {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				conn.Close()
			}
			return err != nil
		})
		for range 20 {
			r.ping()
		}
		r.get(1, "/")
		var aways []uint32
		var status, body string
		for f := r.next(); f != nil; f = r.next() {
			switch f := f.(type) {
			case *http2.GoAwayFrame:
				aways = append(aways, f.LastStreamID)
			case *http2.MetaHeadersFrame:
				status = f.PseudoValue("status")
			case *http2.DataFrame:
				body += string(f.Data())
			}
		}
		if !slices.Equal(aways, []uint32{1<<31 - 1, 1}) || status != "200" || body != "ok" {
			t.Errorf("last streams %d; %s %q", aways, status, body)
		}
		<-g.ended
	})
}
