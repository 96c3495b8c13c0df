package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Seen-Path", r.URL.RequestURI())
	w.Header().Set("X-Seen-Host", r.Host)
	w.Header().Set("X-Seen-Method", r.Method)
	_, _ = w.Write(body)
}

func TestForwards(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", httpBackend(t, echo))
		g.apply()
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"} {
			for _, body := range []string{"", "x", strings.Repeat("0123456789", 10_000)} {
				req, _ := http.NewRequest(method, g.url("/a/b?c=d&e"), strings.NewReader(body))
				res, got := g.do(req)
				if res.StatusCode != 200 || got != body {
					t.Fatalf("%s with %d bytes: %d with %d bytes", method, len(body), res.StatusCode, len(got))
				}
				if p := res.Header.Get("X-Seen-Path"); p != "/a/b?c=d&e" {
					t.Errorf("path upstream: %q", p)
				}
				if h := res.Header.Get("X-Seen-Host"); h != "app.test" {
					t.Errorf("host upstream: %q", h)
				}
				if m := res.Header.Get("X-Seen-Method"); m != method {
					t.Errorf("method upstream: %q", m)
				}
			}
		}
	})
}

func TestAnswersWithoutUpstream(t *testing.T) {
	run(t, clientModes, Settings{MaxBody: 10}, func(t *testing.T, g *gateway) {
		ok := httpBackend(t, echo)
		g.route("/status").Action.Status = 418
		g.route("/empty")
		g.route("/invalid", nil)
		g.route("/none", router.NewBackend("default/none:80"))
		g.route("/dead", backendAt(deadAddress(t)))
		g.route("/ok", ok)
		g.route("/redirect").Action.Redirect = &router.Redirect{Scheme: "https", Hostname: "other.test", Port: 8443, Status: 302}
		g.apply()
		for _, test := range []struct {
			path, body string
			status     int
			cause      exchange.Cause
		}{
			{"/nothing", "", 404, exchange.CauseNoRoute},
			{"/status", "", 418, exchange.CauseNone},
			{"/empty", "", 500, exchange.CauseNoBackend},
			{"/invalid", "", 500, exchange.CauseNoBackend},
			{"/none", "", 503, exchange.CauseNoEndpoint},
			{"/dead", "", 502, exchange.CauseConnectRefused},
			{"/ok", "12345678901", 413, exchange.CauseBodyTooLarge},
			{"/ok", "1234567890", 200, exchange.CauseNone},
			{"/redirect/x?y=z", "", 302, exchange.CauseNone},
		} {
			n := g.count()
			req, _ := http.NewRequest("POST", g.url(test.path), strings.NewReader(test.body))
			res, body := g.do(req)
			if res.StatusCode != test.status {
				t.Errorf("%s: status %d, want %d", test.path, res.StatusCode, test.status)
			}
			if want := res.Status + "\n"; test.status >= 400 && test.status != 418 && body != want {
				t.Errorf("%s: body %q, want %q", test.path, body, want)
			}
			if x := g.observed(n + 1); x.Cause != test.cause || x.Status != test.status {
				t.Errorf("%s: observed %d %q, want %q", test.path, x.Status, x.Cause, test.cause)
			}
			if test.path == "/redirect/x?y=z" && res.Header.Get("Location") != "https://other.test:8443/redirect/x?y=z" {
				t.Errorf("Location: %s", res.Header.Get("Location"))
			}
		}
	})
}
