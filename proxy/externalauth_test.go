package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// authServer is an authorization server over HTTP, and what it was asked.
func authServer(t *testing.T, answer http.HandlerFunc) (*router.Backend, chan copied) {
	asked := make(chan copied, 1000)
	return httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		length := fmt.Sprint(r.Header["Content-Length"], r.ContentLength, r.TransferEncoding)
		asked <- copied{r.Method + " " + r.Host + r.RequestURI, string(body), length, r.Header}
		answer(w, r)
	}), asked
}

// countingApp is a Backend that says what it got, and counts.
func countingApp(t *testing.T) (*router.Backend, *atomic.Int32) {
	var reached atomic.Int32
	return httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Served", "1")
		_, _ = fmt.Fprintf(w, "user=%v type=%v size=%d", r.Header["X-User"], r.Header["Content-Type"], len(body))
	}), &reached
}

func TestExternalAuthConsent(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		auth, asked := authServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-User", "alice")
			w.Header().Set("Content-Type", "text/auth")
		})
		app, _ := countingApp(t)
		g.route("/", app).Action.Auth = &router.ExternalAuth{Backend: auth, Path: "/check", RequestFields: []string{"x-trace", "X-Forwarded-Proto"}}
		g.apply()
		for _, size := range []int{0, 10, 300 << 10} {
			req, _ := http.NewRequest("POST", g.url("/path%20a?q=1"), strings.NewReader(strings.Repeat("x", size)))
			req.Header.Set("Authorization", "Basic abc")
			req.Header.Set("X-Trace", "t")
			req.Header.Set("X-User", "mallory")
			req.Header.Set("X-Forwarded-Proto", "gopher")
			req.Header.Set("Cookie", "secret")
			req.Header.Set("Content-Type", "text/mine")
			if res, body := g.do(req); res.StatusCode != 200 || body != fmt.Sprintf("user=[alice] type=[text/mine] size=%d", size) {
				t.Fatalf("%d %q", res.StatusCode, body)
			}
			question := <-asked
			if want := "POST " + req.URL.Host + "/check/path%20a?q=1"; question.line != want || question.body != "" || question.trailer != "[0] 0 []" {
				t.Errorf("asked %q %q %q, want %q and no body", question.line, question.body, question.trailer, want)
			}
			scheme := "http"
			if g.mode.tls {
				scheme = "https"
			}
			h := question.header
			if h.Get("Authorization") != "Basic abc" || h.Get("X-Trace") != "t" || h.Get("X-Forwarded-Proto") != scheme {
				t.Errorf("the server was told %v", h)
			}
			for _, secret := range []string{"Cookie", "X-User", "Content-Type", "X-Forwarded-For", "X-Request-Id"} {
				if h.Get(secret) != "" {
					t.Errorf("the server was told of %s: %q", secret, h.Get(secret))
				}
			}
		}
	})
}

// What a client writes under a name that is the server's does not pass for the server's.
func TestExternalAuthNamedFields(t *testing.T) {
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		auth, _ := authServer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Other", "theirs")
			w.Header().Set("Content-Type", "text/auth")
			if r.URL.Path == "/user" {
				w.Header().Add("X-User", "alice")
				w.Header().Add("X-User", "bob")
			}
		})
		app, _ := countingApp(t)
		g.route("/", app).Action.Auth = &router.ExternalAuth{Backend: auth, ResponseFields: []string{"x-user", "Host", "Content-Length", "Connection"}}
		g.apply()
		for path, want := range map[string]string{"/user": "user=[alice bob] type=[] size=0", "/nobody": "user=[] type=[] size=0"} {
			req, _ := http.NewRequest("GET", g.url(path), nil)
			req.Header.Set("X-User", "mallory")
			if res, body := g.do(req); res.StatusCode != 200 || body != want {
				t.Errorf("%s: %d %q, want %q", path, res.StatusCode, body, want)
			}
		}
	})
}

func TestExternalAuthRefusal(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		auth, _ := authServer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-User", "alice")
			switch r.URL.Path {
			case "/password":
				w.Header().Set("WWW-Authenticate", "Basic")
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(401)
				_, _ = io.WriteString(w, "who are you?")
			case "/login":
				w.Header().Set("Location", "/enter")
				w.Header().Add("Set-Cookie", "a=1")
				w.Header().Add("Set-Cookie", "b=2")
				w.WriteHeader(302)
			case "/long":
				w.WriteHeader(403)
				_, _ = io.WriteString(w, strings.Repeat("x", maxAuthBody+1))
			case "/longest":
				_, _ = io.WriteString(w, strings.Repeat("x", 10*maxAuthBody)) // 200
			case "/broken":
				w.WriteHeader(500)
			default:
				w.WriteHeader(202)
			}
		})
		app, reached := countingApp(t)
		g.route("/", app).Action.Auth = &router.ExternalAuth{Backend: auth}
		g.apply()
		for range 2 { // the connection goes on
			for path, want := range map[string]struct {
				status int
				body   string
			}{"/password": {401, "who are you?"}, "/login": {302, ""}, "/long": {403, ""}, "/broken": {500, ""}, "/accepted": {403, "403 Forbidden\n"}} {
				res, body := g.get(path)
				if res.StatusCode != want.status || body != want.body || res.Header.Get("X-Served") != "" {
					t.Errorf("%s: %d %q, want %d %q", path, res.StatusCode, body, want.status, want.body)
				}
				if path == "/login" && (res.Header.Get("Location") != "/enter" || len(res.Header["Set-Cookie"]) != 2) {
					t.Errorf("%s: %v", path, res.Header)
				}
				if path == "/password" && (res.Header.Get("WWW-Authenticate") != "Basic" || res.Header.Get("Content-Type") != "text/html") {
					t.Errorf("%s: %v", path, res.Header)
				}
			}
		}
		if n := reached.Load(); n != 0 {
			t.Errorf("%d requests went on", n)
		}
		if res, _ := g.get("/longest"); res.StatusCode != 200 || reached.Load() != 1 {
			t.Errorf("a consent with a long body: %d", res.StatusCode)
		}
		x := g.observed(1)
		if x.Cause != exchange.CauseDenied || x.Route == "" {
			t.Errorf("the report says %q of %q", x.Cause, x.Route)
		}
	})
}

// TestExternalAuthFailsClosed: without an answer nothing goes on.
func TestExternalAuthFailsClosed(t *testing.T) {
	run(t, []mode{plainMode, h2Mode, h3Mode}, Settings{ConnectTimeout: time.Second}, func(t *testing.T, g *gateway) {
		app, reached := countingApp(t)
		broken := rawBackend(t, func(_ net.Conn, r *bufio.Reader) { _, _ = http.ReadRequest(r) })
		silent, _ := authServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		for path, auth := range map[string]*router.ExternalAuth{
			"/unresolved": {}, "/dead": {Backend: backendAt(deadAddress(t))}, "/none": {Backend: backendAt()},
			"/broken": {Backend: broken}, "/silent": {Backend: silent},
			"/nonsense": {Backend: rawBackend(t, answering("hello\r\n\r\n"))},
			"/partial":  {Backend: rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"))},
			"/http":     {Backend: httpBackend(t, func(http.ResponseWriter, *http.Request) {}), Protocol: router.AuthGRPC},
		} {
			rule := g.route(path, app)
			rule.Action.Auth = auth
			rule.Action.RequestTimeout = 300 * time.Millisecond
			if path != "/silent" && path != "/partial" {
				rule.Action.RequestTimeout = 0
			}
		}
		g.apply()
		for path, want := range map[string]int{"/unresolved": 500, "/dead": 503, "/none": 503, "/broken": 503, "/silent": 504, "/nonsense": 503, "/partial": 504, "/http": 503} {
			if res, body := g.get(path); res.StatusCode != want {
				t.Errorf("%s: %d %q, want %d", path, res.StatusCode, body, want)
			}
		}
		if n := reached.Load(); n != 0 {
			t.Errorf("%d requests went on", n)
		}
	})
}

func TestExternalAuthBody(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		auth, asked := authServer(t, func(http.ResponseWriter, *http.Request) {})
		app, reached := countingApp(t)
		const limit = 100 << 10
		g.route("/", app).Action.Auth = &router.ExternalAuth{Backend: auth, MaxBody: limit}
		retry := g.route("/retry", app)
		retry.Action.Auth = &router.ExternalAuth{Backend: auth, MaxBody: limit}
		retry.Action.Retry = &router.Retry{Attempts: 2}
		g.apply()
		for _, path := range []string{"/", "/retry"} {
			for _, size := range []int{0, 10, limit} {
				for _, known := range []bool{true, false} {
					sent := strings.Repeat("x", size)
					var from io.Reader = strings.NewReader(sent)
					if !known {
						from = io.MultiReader(from) // net/http cannot know
					}
					req, _ := http.NewRequest("POST", g.url(path), from)
					req.Header.Set("Content-Type", "text/mine")
					if size > 10 {
						req.Header.Set("Expect", "100-continue")
					}
					if res, body := g.do(req); res.StatusCode != 200 || body != fmt.Sprintf("user=[] type=[text/mine] size=%d", size) {
						t.Fatalf("%d bytes, known %t: %d %q", size, known, res.StatusCode, body)
					}
					if question := <-asked; question.body != sent || question.trailer != fmt.Sprintf("[%d] %d []", size, size) {
						t.Errorf("the server got %d bytes of %d, %s", len(question.body), size, question.trailer)
					}
				}
			}
		}
		n := reached.Load()
		for _, known := range []bool{true, false} {
			var from io.Reader = strings.NewReader(strings.Repeat("x", limit+1))
			if !known {
				from = io.MultiReader(from)
			}
			req, _ := http.NewRequest("POST", g.url("/"), from)
			if res, _ := g.do(req); res.StatusCode != 413 {
				t.Errorf("a body that is too long: %d", res.StatusCode)
			}
		}
		if reached.Load() != n || len(asked) > 0 {
			t.Error("a body that is too long went on")
		}
	})
}

// TestExternalAuthBesideFilters: what a request filter does comes after the server, unless
// the Rule has it before.
func TestExternalAuthBesideFilters(t *testing.T) {
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		auth, asked := authServer(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-User", "server") })
		app, reached := countingApp(t)
		for _, path := range []string{"/before", "/after"} {
			rule := g.route(path, app)
			rule.Action.Auth = &router.ExternalAuth{Backend: auth, RequestFields: []string{"X-User"}, AfterHeaders: path == "/after"}
			rule.Action.RequestHeaders = &router.HeaderFilter{Set: []router.Field{{Name: "X-User", Value: "filter"}}}
		}
		redirect := g.route("/redirect")
		redirect.Action.Auth = &router.ExternalAuth{Backend: httpBackend(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) })}
		redirect.Action.Redirect = &router.Redirect{Scheme: "https", Status: 302}
		cors := g.route("/cors", app)
		cors.Action.Auth = redirect.Action.Auth
		cors.Action.CORS = &router.CORS{AllowOrigins: []string{"https://example.com"}, AllowMethods: []string{"GET"}}
		g.apply()
		for path, want := range map[string][2]string{"/before": {"", "filter"}, "/after": {"filter", "server"}} {
			if _, body := g.get(path); !strings.HasPrefix(body, "user=["+want[1]+"]") {
				t.Errorf("%s: %q", path, body)
			}
			if told := (<-asked).header.Get("X-User"); told != want[0] {
				t.Errorf("%s: the server was told %q", path, told)
			}
		}
		if res, _ := g.get("/redirect"); res.StatusCode != 401 {
			t.Errorf("a redirect without consent: %d", res.StatusCode)
		}
		n := reached.Load()
		req, _ := http.NewRequest("OPTIONS", g.url("/cors"), nil)
		req.Header.Set("Origin", "https://example.com")
		req.Header.Set("Access-Control-Request-Method", "GET")
		if res, _ := g.do(req); res.StatusCode != 204 {
			t.Errorf("a preflight, which cannot have credentials: %d", res.StatusCode)
		}
		req.Method = "GET"
		if res, _ := g.do(req); res.StatusCode != 401 || res.Header.Get("Access-Control-Allow-Origin") == "" || reached.Load() != n {
			t.Errorf("the request behind it: %d %v", res.StatusCode, res.Header)
		}
	})
}

// TestListenerAuths: the servers of a Listener are asked in order, before the request is
// matched, and decide what it is matched by.
func TestListenerAuths(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		order := make(chan string, 10)
		first, _ := authServer(t, func(w http.ResponseWriter, r *http.Request) {
			order <- "first"
			if r.URL.Path == "/denied" {
				w.WriteHeader(403)
			}
			w.Header().Set("X-Tenant", "a")
			w.Header().Set("X-Forwarded-User", "alice")
			w.Header().Set("Host", "other.test")
		})
		second, asked := authServer(t, func(w http.ResponseWriter, _ *http.Request) {
			order <- "second"
			w.Header().Set("X-Step", "2")
		})
		g.auths = []*router.ExternalAuth{{Backend: first}, {Backend: second, RequestFields: []string{"X-Tenant", "X-Forwarded-User"}}}
		saying := func(what string) *router.Backend {
			return httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = fmt.Fprint(w, what, r.Header["X-Tenant"], r.Header["X-Forwarded-User"], r.Header["X-Step"], r.Host == "other.test")
			})
		}
		tenant := g.route("/app", saying("tenant"))
		tenant.Match.Headers = []router.ValueMatch{{Name: "X-Tenant", Value: "a"}, {Name: "X-Forwarded-User", Value: "alice"}}
		g.route("/app", saying("nobody"))
		own := g.route("/.well-known/acme-challenge/token")
		own.Match.Path.Kind = router.PathExact
		own.Action.Status, own.Action.Body = 200, "key"
		g.apply()

		req, _ := http.NewRequest("GET", g.url("/app"), nil)
		req.Header.Set("X-Tenant", "b")
		req.Header.Set("X-Forwarded-User", "mallory")
		if res, body := g.do(req); res.StatusCode != 200 || body != "tenant[a][alice][2]false" && body != "tenant[a] [alice] [2] false" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
		if h := (<-asked).header; h.Get("X-Forwarded-User") != "alice" {
			t.Errorf("the second was told %v", h)
		}
		if res, _ := g.get("/nowhere"); res.StatusCode != 404 || len(asked) != 1 {
			t.Errorf("without a Rule: %d", res.StatusCode)
		}
		<-asked
		for _, want := range []string{"first", "second", "first", "second"} {
			if got := <-order; got != want {
				t.Errorf("%s was asked, want %s", got, want)
			}
		}
		if res, _ := g.get("/denied"); res.StatusCode != 403 || len(asked) != 0 || len(order) != 1 {
			t.Errorf("%d after %d questions", res.StatusCode, len(order))
		}
		if res, body := g.get("/.well-known/acme-challenge/token"); res.StatusCode != 200 || body != "key" || len(order) != 1 {
			t.Errorf("a CA got %d %q", res.StatusCode, body)
		}
	})
}
