package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sort"
	"strings"
	"testing"
)

// The same requests through net/http/httputil.ReverseProxy and through us: the
// upstream sees the same, and so does the client. Where we differ on purpose is
// taken out: our X-Forwarded-Port, X-Real-Ip and X-Request-Id, the User-Agent that
// ReverseProxy blanks, the Connection: TE that it forgets, and the trailers that it
// sends without their values.
func TestLikeReverseProxy(t *testing.T) {
	backend := newServer(t, differentialBackend)
	upstreamURL, _ := url.Parse(backend.URL)
	reference := newServer(t, (&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstreamURL)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(502) },
	}).ServeHTTP)

	g := newGateway(t, plainMode, Settings{})
	g.route("/", backendAt(backend.Listener.Addr()))
	g.apply()

	for _, request := range differentialRequests() {
		want := summaryOf(t, reference.Listener.Addr().String(), request)
		got := summaryOf(t, g.address(), request)
		if got != want {
			t.Errorf("%q\n got %s\nwant %s", shorten(request), got, want)
		}
	}
}

func newServer(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func differentialRequests() []string {
	var all []string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		for _, target := range []string{
			"/", "/plain", "/chunked", "/empty", "/204", "/304", "/404", "/500", "/redirect", "/cookies", "/trailers", "/close",
			"/plain?a=b&c=%20d", "/plain?", "/early-hints",
		} {
			if method == "HEAD" && target == "/trailers" {
				continue // ReverseProxy forgets the announcement
			}
			all = append(all, method+" "+target+" HTTP/1.1\r\nHost: app.test\r\nAccept: */*\r\n\r\n")
		}
	}
	for _, fields := range []string{
		"Accept: a\r\nAccept: b\r\n",
		"Connection: X-A, x-b\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n",
		"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n",
		"TE: gzip\r\n",
		"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: gopher\r\nForwarded: for=192.0.2.1\r\n",
		"Cookie: a=b\r\nCookie: c=d\r\n", "Range: bytes=0-1\r\n", "If-None-Match: \"a\"\r\n", "Empty:\r\n", "Trailing: a \t \r\n",
	} {
		all = append(all, "GET /plain HTTP/1.1\r\nHost: app.test:8080\r\n"+fields+"\r\n")
	}
	for _, body := range []string{
		"Content-Length: 5\r\n\r\nhello",
		"Content-Length: 0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000),
		"Transfer-Encoding: chunked\r\n\r\n186A0\r\n" + strings.Repeat("x", 100_000) + "\r\n0\r\n\r\n",
	} {
		for _, method := range []string{"POST", "PUT", "GET", "DELETE"} {
			if strings.HasPrefix(body, "Content-Length: 0") && method[0] != 'P' {
				continue // ReverseProxy drops it
			}
			all = append(all, method+" /plain HTTP/1.1\r\nHost: app.test\r\n"+body)
		}
	}
	return append(all,
		"GET /plain HTTP/1.0\r\nHost: app.test\r\n\r\n",
		"GET /chunked HTTP/1.0\r\nHost: app.test\r\n\r\n",
		"GET http://app.test/plain?x HTTP/1.1\r\nHost: other.test\r\n\r\n")
}

// differentialBackend answers by path, and echoes what it saw.
func differentialBackend(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	saw := summariseSeen(r, body)
	h := w.Header()
	h.Set("Date", "Mon, 02 Jan 2006 15:04:05 GMT")
	h.Set("X-Saw", url.QueryEscape(saw))
	h.Set("Keep-Alive", "timeout=5")
	h.Set("Etag", `"a"`)
	switch r.URL.Path {
	case "/chunked":
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "second")
	case "/empty":
	case "/204":
		w.WriteHeader(204)
	case "/304":
		w.WriteHeader(304)
	case "/404":
		http.NotFound(w, r)
	case "/500":
		w.WriteHeader(500)
		_, _ = io.WriteString(w, "broken")
	case "/redirect":
		h.Set("Location", "/elsewhere")
		w.WriteHeader(302)
	case "/cookies":
		h.Add("Set-Cookie", "a=b")
		h.Add("Set-Cookie", "c=d")
		_, _ = io.WriteString(w, "cookies")
	case "/trailers":
		h.Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "trailers")
		h.Set("X-Sum", "9")
	case "/close":
		h.Set("Connection", "X-Hop") // with close, net/http loses the rest
		h.Set("X-Hop", "1")
		_, _ = io.WriteString(w, "close")
	case "/early-hints":
		h.Set("Link", "</a.css>")
		w.WriteHeader(103)
		_, _ = io.WriteString(w, "hints")
	default:
		_, _ = io.WriteString(w, "plain")
	}
}

// onPurpose are the fields in which we differ from ReverseProxy.
var onPurpose = []string{"X-Forwarded-Port", "X-Real-Ip", "X-Request-Id", "User-Agent", "Accept-Encoding"}

func summariseSeen(r *http.Request, body []byte) string {
	return fmt.Sprintf("%s %s host=%s length=%d te=%v %s trailer=%s body=%d/%s", r.Method, r.RequestURI, r.Host,
		r.ContentLength, r.TransferEncoding, summariseHeader(r.Header), summariseHeader(r.Trailer), len(body), shorten(string(body)))
}

func summariseHeader(h http.Header) string {
	var lines []string
	for name, values := range h {
		if !slices.Contains(onPurpose, name) {
			lines = append(lines, fmt.Sprintf("%s=%q", name, values))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, " ")
}

func shorten(s string) string { return s[:min(len(s), 200)] }

// summaryOf sends a request, and says what came back.
func summaryOf(t *testing.T, address, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	in := bufio.NewReader(conn)
	var interim []int
	for {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return "error"
		}
		if res.StatusCode < 200 {
			interim = append(interim, res.StatusCode)
			continue
		}
		body, err := io.ReadAll(res.Body)
		saw, _ := url.QueryUnescape(res.Header.Get("X-Saw"))
		res.Header.Del("X-Saw")
		return fmt.Sprintf("%v %s length=%d te=%v close=%v %s trailer=%s body=%q err=%v saw: %s", interim, res.Status, res.ContentLength,
			res.TransferEncoding, res.Close, summariseHeader(res.Header), summariseHeader(res.Trailer), body, err, saw)
	}
}
