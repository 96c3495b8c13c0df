package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// A client must not take a part of a response for all of it.
func TestHTTP3TruncatedResponse(t *testing.T) {
	for name, response := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhello",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"garbage": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
				g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
					_, _ = http.ReadRequest(in)
					_, _ = io.WriteString(conn, response)
				}))
				g.apply()
				raw := g.dialH3()
				if answer := raw.request(get()); answer.code != http3.ErrCodeInternalError {
					t.Errorf("%+v", answer)
				}
				if answer := raw.request(headers(":method", "TRACE", ":scheme", "https", ":authority", "app.test", ":path", "/")); answer.status != "405" {
					t.Errorf("the connection does not go on: %+v", answer)
				}
			})
		})
	}
}

// When the client gives up, the upstream is left too.
func TestHTTP3ClientLeaves(t *testing.T) {
	run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		arrived, left := make(chan struct{}, 1), make(chan struct{}, 1)
		serve := func(begin string) *router.Backend {
			return rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				_, _ = io.WriteString(conn, begin)
				arrived <- struct{}{}
				_, _ = io.Copy(io.Discard, in)
				left <- struct{}{}
			})
		}
		g.route("/silent", serve(""))
		g.route("/begun", serve("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"))
		g.apply()
		canceled := quic.StreamErrorCode(http3.ErrCodeRequestCanceled)
		head := func(method, path string, more ...string) []byte {
			return headers(append([]string{":method", method, ":scheme", "https", ":authority", "app.test", ":path", path}, more...)...)
		}
		for i, leave := range []func(*h3Raw){
			func(r *h3Raw) {
				stream := r.open(head("POST", "/silent", "content-length", "10"), frame(frameData, []byte("hello")))
				<-arrived
				stream.CancelWrite(canceled)
			},
			func(r *h3Raw) {
				stream := r.open(head("GET", "/silent"))
				_ = stream.Close()
				<-arrived
				stream.CancelRead(canceled)
			},
			func(r *h3Raw) {
				stream := r.open(head("GET", "/begun"))
				_ = stream.Close()
				<-arrived
				stream.CancelRead(canceled)
			},
			func(r *h3Raw) {
				stream := r.open(head("GET", "/begun"))
				_ = stream.Close()
				<-arrived
				_ = r.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
			},
		} {
			leave(g.dialH3())
			<-left
			if x := g.observed(i + 1); x.Cause != exchange.CauseClientGone {
				t.Errorf("%d: cause %q", i, x.Cause)
			}
		}
	})
}

func TestHTTP3Interim(t *testing.T) {
	run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", rawBackend(t, answering("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nLink: </b.css>\r\nConnection: close\r\n\r\n"+
			"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTrailer: X-A\r\nX-A: head\r\n\r\nok")))
		g.apply()
		var hints []string
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, header["Link"], header["Connection"]))
			return nil
		}}
		req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodGet, g.url("/"), nil)
		res, body := g.do(req)
		if !slices.Equal(hints, []string{"103 [</a.css> </b.css>] []"}) {
			t.Errorf("hints %q", hints)
		}
		if body != "ok" || res.Header.Get("Link") != "" || res.Header.Get("X-A") != "head" {
			t.Errorf("%q %v", body, res.Header)
		}
	})
}

// A response goes to the client as it comes, while the request's body still does.
func TestHTTP3StreamsBothWays(t *testing.T) {
	run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			_ = control.EnableFullDuplex()
			w.Header().Set("Trailer", "Grpc-Status")
			_ = control.Flush()
			buf := make([]byte, 100)
			for {
				n, err := r.Body.Read(buf)
				if n > 0 {
					_, _ = fmt.Fprintf(w, "%s!", buf[:n])
					_ = control.Flush()
				}
				if err != nil {
					break
				}
			}
			w.Header().Set("Grpc-Status", "0")
		}))
		g.apply()
		in, out := io.Pipe()
		req, _ := http.NewRequest(http.MethodPost, g.url("/"), in)
		res, err := g.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		for _, word := range []string{"one", "two", "three"} {
			_, _ = io.WriteString(out, word)
			got := make([]byte, len(word)+1)
			if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != word+"!" {
				t.Fatalf("%q, %v", got, err)
			}
		}
		out.Close()
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil || res.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%q, %v, trailers %v", rest, err, res.Trailer)
		}
	})
}

// TestHTTP3Fields shows which fields reach the upstream, and in what order.
func TestHTTP3Fields(t *testing.T) {
	run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		seen := make(chan []string, 1)
		g.route("/", rawBackend(t, func(conn net.Conn, in *bufio.Reader) {
			var lines []string
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line = strings.TrimSpace(line); line == "" {
					break
				}
				if !strings.HasPrefix(line, "X-Request-Id:") {
					lines = append(lines, line)
				}
			}
			seen <- lines
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}))
		g.apply()
		g.dialH3().request(get("x-b", "1", "cookie", "a=1", "x-a", "2", "x-b", "3", "cookie", "b=2", "x-forwarded-for", "192.0.2.1",
			"te", "trailers", "trailer", "x-c"))
		want := []string{"GET / HTTP/1.1", "Host: app.test", "Cookie: a=1; b=2", "X-A: 2", "X-B: 1", "X-B: 3", "Trailer: X-C",
			"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: app.test",
			"X-Forwarded-Port: " + portOf(g.address()), "X-Real-Ip: 127.0.0.1", "Connection: TE", "TE: trailers"}
		if got := <-seen; !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

func TestHTTP3WebSocket(t *testing.T) {
	run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		rule := g.route("/", socketBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = io.WriteString(conn, "hello")
			_, _ = io.Copy(conn, in)
			_, _ = io.WriteString(conn, "bye")
		}))
		rule.Action.RequestTimeout = 500 * time.Millisecond
		g.route("/no", rawBackend(t, answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")))
		g.route("/another", rawBackend(t, answering(switching)))
		g.apply()
		raw := g.dialH3()
		stream := raw.open(connectH3("/chat"), frame(frameData, []byte("early")))
		raw.write(stream, frame(frameData, []byte("one")))
		_ = stream.Close()
		answer := answerOn(stream)
		if answer.status != "200" || answer.body != "helloearlyonebye" || answer.code != 0 || answer.fields["sec-websocket-accept"] != "" {
			t.Errorf("%+v", answer)
		}
		if x := g.observed(1); x.Received != int64(len("earlyone")) || x.Sent != int64(len("helloearlyonebye")) {
			t.Errorf("%d in, %d out", x.Received, x.Sent)
		}
		if answer := raw.request(connectH3("/no")); answer.status != "403" || answer.body != "no" {
			t.Errorf("%+v", answer)
		}
		// What the upstream agrees to is not what it was asked for.
		if answer := raw.request(connectH3("/another")); answer.status != "502" {
			t.Errorf("%+v", answer)
		}
		if x := g.observed(3); x.Status != 502 || x.Cause != exchange.CauseUpstreamInvalid {
			t.Errorf("%d, %q", x.Status, x.Cause)
		}
	})
}

// connectH3 asks for a WebSocket.
func connectH3(path string) []byte {
	return headers(":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "app.test", ":path", path,
		"sec-websocket-version", "13")
}

// Who breaks off a WebSocket, or leaves, is seen to have done so on the other side (RFC 9220 §3).
func TestHTTP3WebSocketBrokenOff(t *testing.T) {
	run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		ended := make(chan error, 1)
		g.route("/", socketBackend(t, func(_ net.Conn, in *bufio.Reader) {
			_, err := io.Copy(io.Discard, in)
			ended <- err
		}))
		g.route("/resets", socketBackend(t, func(conn net.Conn, in *bufio.Reader) {
			_, _ = in.ReadByte()
			leave(conn, "resets")
		}))
		g.apply()
		raw := g.dialH3()
		resets := raw.open(connectH3("/resets"))
		end := &h3End{Stream: resets, in: quicvarint.NewReader(resets)}
		if status, err := end.status(); status != 200 {
			t.Fatalf("%d, %v", status, err)
		}
		_, _ = io.WriteString(end, "r")
		if _, err := end.Read(make([]byte, 1)); codeOf(err) != http3.ErrCodeRequestCanceled {
			t.Errorf("the client got %v for the upstream's reset", err)
		}
		for name, leave := range map[string]func(*quic.Stream){
			"reset": func(stream *quic.Stream) {
				stream.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
				stream.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
			},
			"leaving": func(*quic.Stream) { _ = raw.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") },
		} {
			raw = g.dialH3()
			stream := raw.open(connectH3("/chat"))
			eventually(t, "it is relayed", func() bool { return g.server.Stats().Upgraded.Load() == 1 })
			leave(stream)
			if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the upstream got %v for the client's %s", err, name)
			}
			eventually(t, "nothing is relayed", func() bool { return g.server.Stats().Upgraded.Load() == 0 })
		}
	})
}

// Streams that are opened and reset at once do not pile up exchanges.
func TestHTTP3RapidReset(t *testing.T) {
	run(t, []mode{h3Mode}, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		g.route("/ok", httpBackend(t, func(http.ResponseWriter, *http.Request) {}))
		g.apply()
		raw := g.dialH3()
		for range 2000 {
			stream, err := raw.conn.OpenStreamSync(context.Background())
			if err != nil {
				break // refused for it, which is fine
			}
			_, _ = stream.Write(get())
			stream.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
			stream.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
		}
		eventually(t, "the upstreams are left", func() bool {
			stats := g.server.Stats()
			return stats.Upstream.Load() == stats.UpstreamIdle.Load()
		})
		if res, _ := g.get("/ok"); res.StatusCode != http.StatusOK {
			t.Errorf("others get %d", res.StatusCode)
		}
	})
}
