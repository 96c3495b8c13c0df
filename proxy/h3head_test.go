package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// TestHTTP3Heads shows what of a head is refused, and that nothing of that reaches an
// upstream.
func TestHTTP3Heads(t *testing.T) {
	limits := h1.Limits{Line: 1 << 10, Head: 4 << 10, Fields: 16}
	many := make([]string, 2*limits.Fields)
	for i := range many {
		many[i] = fmt.Sprintf("x-%d", i)
	}
	for _, tt := range []struct {
		name   string
		head   []byte
		status string
		code   http3.ErrCode
	}{
		{"good", get("x-a", "b", "accept", "*/*"), "200", 0},
		{"host in the place of :authority", headers(":method", "GET", ":scheme", "https", ":path", "/", "host", "app.test"), "200", 0},
		{"host and :authority agree", get("host", "app.test"), "200", 0},
		{"host and :authority differ", get("host", "other.test"), "", http3.ErrCodeMessageError},
		{"te: trailers", get("te", "trailers"), "200", 0},
		{"te: gzip", get("te", "gzip"), "", http3.ErrCodeMessageError},
		{"connection", get("connection", "close"), "", http3.ErrCodeMessageError},
		{"transfer-encoding", get("transfer-encoding", "chunked"), "", http3.ErrCodeMessageError},
		{"upgrade", get("upgrade", "websocket"), "", http3.ErrCodeMessageError},
		{"keep-alive", get("keep-alive", "5"), "", http3.ErrCodeMessageError},
		{"name in upper case", get("X-A", "b"), "", http3.ErrCodeMessageError},
		{"name with a space", get("x a", "b"), "", http3.ErrCodeMessageError},
		{"name with a colon", get("x:", "b"), "", http3.ErrCodeMessageError},
		{"empty name", get("", "b"), "", http3.ErrCodeMessageError},
		{"value with CRLF", get("x-a", "b\r\nx-smuggled: c"), "", http3.ErrCodeMessageError},
		{"value with NUL", get("x-a", "b\x00"), "", http3.ErrCodeMessageError},
		{"value with leading space", get("x-a", " b"), "400", 0},
		{"value with trailing tab", get("x-a", "b\t"), "400", 0},
		{"path with a space", headers(":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/a b"), "", 1},
		{"path with a version", headers(":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/ HTTP/1.0"), "", 1},
		{"path with CRLF", headers(":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/\r\nx: y"), "", 1},
		{"path with a fragment", headers(":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/a#b"), "400", 0},
		{"path that is no path", headers(":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "a"), "", http3.ErrCodeMessageError},
		{"path of another origin", headers(":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "http://b/"), "", http3.ErrCodeMessageError},
		{"no path", headers(":method", "GET", ":scheme", "https", ":authority", "app.test"), "", http3.ErrCodeMessageError},
		{"no host", headers(":method", "GET", ":scheme", "https", ":path", "/"), "", http3.ErrCodeMessageError},
		{"host with a space", headers(":method", "GET", ":scheme", "https", ":authority", "a b", ":path", "/"), "400", 0},
		{"host with a path", headers(":method", "GET", ":scheme", "https", ":authority", "a/b", ":path", "/"), "400", 0},
		{"user information", headers(":method", "GET", ":scheme", "https", ":authority", "u@app.test", ":path", "/"), "", http3.ErrCodeMessageError},
		{"method with a space", headers(":method", "GET /", ":scheme", "https", ":authority", "app.test", ":path", "/"), "", http3.ErrCodeMessageError},
		{"two methods", get(":method", "GET"), "", http3.ErrCodeMessageError},
		{"unknown pseudo-header", get(":x", "y"), "", http3.ErrCodeMessageError},
		{"contradicting lengths", get("content-length", "1", "content-length", "2"), "", http3.ErrCodeMessageError},
		{"negative length", get("content-length", "-1"), "", http3.ErrCodeMessageError},
		{"length that is none", get("content-length", "1,1"), "", http3.ErrCodeMessageError},
		{"CONNECT", headers(":method", "CONNECT", ":authority", "app.test:443"), "405", 0},
		{"TRACE", headers(":method", "TRACE", ":scheme", "https", ":authority", "app.test", ":path", "/"), "405", 0},
		{"extended CONNECT to nothing", headers(":method", "CONNECT", ":protocol", "", ":scheme", "https", ":authority", "app.test", ":path", "/"), "", http3.ErrCodeMessageError},
		{"long path", headers(":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/"+strings.Repeat("a", limits.Line)), "414", 0},
		{"large head", get("x-a", strings.Repeat("a", limits.Head)), "431", 0},
		{"huge head", get("x-a", strings.Repeat("a", 100<<10)), "431", 0},
		{"many fields", get(many...), "431", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, h3Mode, Settings{Limits: &limits})
			var reached atomic.Int32
			g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
			g.apply()
			answer := g.dialH3().request(tt.head)
			if tt.code == 1 { // one of the two refuses it
				if answer.status != "400" && answer.code != http3.ErrCodeMessageError {
					t.Errorf("%+v", answer)
				}
			} else if answer.status != tt.status || tt.status == "" && answer.code != tt.code {
				t.Errorf("%+v", answer)
			}
			if want := tt.status == "200"; (reached.Load() > 0) != want {
				t.Errorf("%d requests reached the upstream", reached.Load())
			}
		})
	}
}

// TestHTTP3Bodies shows what is made of bodies that are not what the head says.
func TestHTTP3Bodies(t *testing.T) {
	post := func(fields ...string) []byte {
		return headers(append([]string{":method", "POST", ":scheme", "https", ":authority", "app.test", ":path", "/"}, fields...)...)
	}
	data := func(text string) []byte { return frame(frameData, []byte(text)) }
	for _, tt := range []struct {
		name   string
		sent   [][]byte
		status string
		body   string // as the upstream saw it, with its framing
	}{
		{"length", [][]byte{post("content-length", "3"), data("abc")}, "200", "3 [] abc"},
		{"length in frames", [][]byte{post("content-length", "3"), data("a"), data(""), data("bc")}, "200", "3 [] abc"},
		{"length of none", [][]byte{post("content-length", "0")}, "200", "0 []"},
		{"no length", [][]byte{post(), data("abc"), data("de")}, "200", "-1 [chunked] abcde"},
		{"no length, no body", [][]byte{post()}, "200", "-1 [chunked]"},
		{"no length, GET", [][]byte{get()}, "200", "0 []"},
		{"body of a GET", [][]byte{get(), data("abc")}, "200", "-1 [chunked] abc"},
		{"unknown frame", [][]byte{post("content-length", "3"), frame(0x21, []byte("x")), data("abc")}, "200", "3 [] abc"},
		{"too short", [][]byte{post("content-length", "3"), data("ab")}, "400", ""},
		{"too long", [][]byte{post("content-length", "3"), data("abcd")}, "", ""},
		{"trailers", [][]byte{post(), data("abc"), headers("x-sum", "1")}, "200", "-1 [chunked] abc 1"},
		{"trailer that frames", [][]byte{post(), data("abc"), headers("content-length", "3")}, "400", ""},
		{"trailer with a space", [][]byte{post(), data("abc"), headers("x-sum", " 1")}, "400", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, h3Mode, Settings{})
			g.route("/", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					panic(http.ErrAbortHandler)
				}
				text := strings.TrimSpace(fmt.Sprintf("%d %v %s", r.ContentLength, r.TransferEncoding, body))
				if sum := r.Trailer.Get("X-Sum"); sum != "" {
					text += " " + sum
				}
				w.Header().Set("X-Body", text)
			}))
			g.apply()
			answer := g.dialH3().request(tt.sent...)
			if answer.status != tt.status || answer.fields["x-body"] != tt.body {
				t.Errorf("%+v", answer)
			}
		})
	}
}

// TestHTTP3SlowClients shows that none of them is waited for without end.
func TestHTTP3SlowClients(t *testing.T) {
	const limit = time.Second // handshakes need some of it
	settings := Settings{ReadHeaderTimeout: limit, IdleTimeout: limit, BodyTimeout: limit}
	slow := func(t *testing.T, p ...[]byte) h3Answer {
		g := newGateway(t, h3Mode, settings)
		g.route("/", httpBackend(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
		g.apply()
		return answerOn(g.dialH3().open(p...))
	}
	if answer := slow(t, get()[:9]); answer.status != "" || answer.code != http3.ErrCodeNoError {
		t.Errorf("incomplete head: %+v", answer)
	}
	if answer := slow(t, get()); answer.status != "408" {
		t.Errorf("no end of the head: %+v", answer)
	}
	if answer := slow(t, get("content-length", "2"), frame(frameData, []byte("a"))); answer.status != "408" {
		t.Errorf("incomplete body: %+v", answer)
	}
	if answer := slow(t, get("content-length", "0")); answer.status != "200" {
		t.Errorf("request without the end of its stream: %+v", answer)
	}
}

// The head of a GET is read before it is known whether more follows: what is wrong there is
// reported of this request.
func TestHTTP3FaultBehindGET(t *testing.T) {
	const limit = time.Second // handshakes need some of it
	run(t, []mode{h3Mode}, Settings{ReadHeaderTimeout: limit}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, func(http.ResponseWriter, *http.Request) { t.Error("it is forwarded") }))
		g.apply()
		raw := g.dialH3()
		raw.request(get(), headers(":path", "/"))
		answerOn(raw.open(get()))
		for i, want := range []struct {
			status int
			cause  exchange.Cause
		}{{400, exchange.CauseBadRequest}, {408, exchange.CauseClientStalled}} {
			x := g.observed(i + 1)
			if x.Status != want.status || x.Cause != want.cause || x.Method != http.MethodGet || x.Path != "/" || x.Protocol != "HTTP/3.0" {
				t.Errorf("reported as %+v", x)
			}
		}
	})
}
