package proxy

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// fields is what a test sends or wants; "" wants none.
type fields map[string]string

func (g *gateway) request(method, path string, send fields) (*http.Response, string) {
	g.t.Helper()
	req, err := http.NewRequest(method, g.url(path), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	for name, value := range send {
		req.Header.Set(name, value)
	}
	return g.do(req)
}

func expectFields(t *testing.T, what string, got http.Header, want fields) {
	t.Helper()
	for name, value := range want {
		if all := strings.Join(got.Values(name), " | "); all != value {
			t.Errorf("%s: %s is %q, want %q", what, name, all, value)
		}
	}
}

var (
	listedCORS = &router.CORS{
		AllowOrigins: []string{"https://www.foo.com", "https://*.bar.com", "http://dev.test:8080"},
		AllowMethods: []string{"GET", "OPTIONS"}, AllowHeaders: []string{"x-header-1", "x-header-2"},
		ExposeHeaders: []string{"x-header-3", "x-header-4"}, AllowCredentials: true, MaxAge: time.Hour,
	}
	openCORS       = &router.CORS{AllowOrigins: []string{"*"}, AllowMethods: []string{"PUT"}}
	everythingCORS = &router.CORS{
		AllowOrigins: []string{"*"}, AllowMethods: []string{"*"}, AllowHeaders: []string{"*"},
		ExposeHeaders: []string{"*"}, AllowCredentials: true,
	}
)

func TestCORSPreflight(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		app := rawBackend(t, answering("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n"))
		for path, cors := range map[string]*router.CORS{"/listed": listedCORS, "/open": openCORS, "/everything": everythingCORS} {
			g.route(path, app).Action.CORS = cors
		}
		g.apply()
		none := fields{"Access-Control-Allow-Origin": "", "Access-Control-Allow-Methods": "", "Access-Control-Allow-Credentials": ""}
		for _, test := range []struct {
			path, origin, method, headers string
			want                          fields
		}{
			{"/listed", "https://www.foo.com", "GET", "x-header-1", fields{
				"Access-Control-Allow-Origin": "https://www.foo.com", "Access-Control-Allow-Methods": "GET, OPTIONS",
				"Access-Control-Allow-Headers": "x-header-1, x-header-2", "Access-Control-Expose-Headers": "x-header-3, x-header-4",
				"Access-Control-Max-Age": "3600", "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
			}},
			{"/listed", "https://a.b.bar.com", "GET", "", fields{"Access-Control-Allow-Origin": "https://a.b.bar.com"}},
			{"/listed", "https://a.bar.com:443", "GET", "", fields{"Access-Control-Allow-Origin": "https://a.bar.com:443"}},
			{"/listed", "http://dev.test:8080", "GET", "", fields{"Access-Control-Allow-Origin": "http://dev.test:8080"}},
			{"/listed", "https://bar.com", "GET", "", none},
			{"/listed", "https://evilbar.com", "GET", "", none},
			{"/listed", "https://.bar.com", "GET", "", none},
			{"/listed", "http://www.foo.com", "GET", "", none},
			{"/listed", "https://www.foo.com:8443", "GET", "", none},
			{"/listed", "http://dev.test", "GET", "", none},
			{"/listed", "null", "GET", "", none},
			{"/open", "https://foobar.com:12345", "PUT", "", fields{
				"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "PUT",
				"Access-Control-Allow-Credentials": "", "Vary": "", "Access-Control-Max-Age": "",
			}},
			{"/everything", "https://other.foo.com", "PATCH", "authorization, x-a", fields{
				"Access-Control-Allow-Origin": "https://other.foo.com", "Access-Control-Allow-Methods": "PATCH",
				"Access-Control-Allow-Headers": "authorization, x-a", "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
			}},
			{"/everything", "https://other.foo.com", "PATCH", "", fields{"Access-Control-Allow-Headers": ""}},
		} {
			send := fields{"Origin": test.origin, "Access-Control-Request-Method": test.method}
			if test.headers != "" {
				send["Access-Control-Request-Headers"] = test.headers
			}
			res, body := g.request("OPTIONS", test.path, send)
			if res.StatusCode != 204 || body != "" {
				t.Errorf("%s from %s: %d %q", test.path, test.origin, res.StatusCode, body)
			}
			expectFields(t, test.path+" from "+test.origin, res.Header, test.want)
		}
		// OPTIONS without the fields of a preflight is for the application.
		if res, _ := g.request("OPTIONS", "/listed", fields{"Origin": "https://www.foo.com"}); res.StatusCode != 418 {
			t.Errorf("OPTIONS: %d", res.StatusCode)
		}
	})
}

// Rules may match methods; a preflight is for the Rule of the request that follows it.
func TestCORSPreflightOfMethod(t *testing.T) {
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		app := rawBackend(t, answering("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n"))
		g.route("/", app)
		put := g.route("/put", app)
		put.Match.Method, put.Action.CORS = "PUT", openCORS
		own := g.route("/own", app)
		own.Match.Method, own.Action.CORS = "PUT", openCORS
		g.route("/own", app).Match.Method = "OPTIONS"
		g.apply()
		for path, want := range map[string]int{"/put": 204, "/own": 418, "/other": 418} {
			send := fields{"Origin": "https://a.test", "Access-Control-Request-Method": "PUT"}
			if res, _ := g.request("OPTIONS", path, send); res.StatusCode != want {
				t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
			}
		}
	})
}

func TestCORSResponses(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		app := rawBackend(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVary: Accept\r\nX-Private: 1\r\n"+
			"access-control-allow-origin: https://upstream.test\r\nAccess-Control-Allow-Credentials: true\r\n\r\nok"))
		for path, cors := range map[string]*router.CORS{"/listed": listedCORS, "/open": openCORS, "/everything": everythingCORS} {
			g.route(path, app).Action.CORS = cors
		}
		redirect := g.route("/redirect")
		redirect.Action.CORS, redirect.Action.Redirect = openCORS, &router.Redirect{Scheme: "https", Status: 302}
		g.route("/nobody", nil).Action.CORS = listedCORS
		g.apply()
		for _, test := range []struct {
			path, origin string
			want         fields
		}{
			{"/listed", "https://www.foo.com", fields{
				"Access-Control-Allow-Origin": "https://www.foo.com", "Access-Control-Allow-Credentials": "true",
				"Access-Control-Expose-Headers": "x-header-3, x-header-4", "Vary": "Accept | Origin", "Access-Control-Allow-Methods": "",
			}},
			{"/listed", "https://foobar.com", fields{
				"Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": "", "Vary": "Accept | Origin",
			}},
			{"/listed", "", fields{"Access-Control-Allow-Origin": "", "Vary": "Accept | Origin"}},
			{"/open", "https://foobar.com", fields{
				"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "", "Vary": "Accept",
			}},
			{"/open", "", fields{"Access-Control-Allow-Origin": "*"}},
			{"/everything", "https://foobar.com", fields{"Access-Control-Allow-Origin": "https://foobar.com"}},
			// Answers of the gateway's own can be read as well.
			{"/redirect", "https://foobar.com", fields{"Access-Control-Allow-Origin": "*", "Location": "https://app.test/redirect"}},
			{"/nobody", "https://www.foo.com", fields{"Access-Control-Allow-Origin": "https://www.foo.com"}},
		} {
			send := fields{}
			if test.origin != "" {
				send["Origin"] = test.origin
			}
			res, _ := g.request("GET", test.path, send)
			expectFields(t, test.path+" from "+test.origin, res.Header, test.want)
		}
		res, _ := g.request("GET", "/everything", fields{"Origin": "https://a.test"})
		exposed := strings.Split(res.Header.Get("Access-Control-Expose-Headers"), ", ")
		if !slices.ContainsFunc(exposed, func(name string) bool { return strings.EqualFold(name, "X-Private") }) {
			t.Errorf("exposed with credentials: %q", exposed)
		}
	})
}

// A filter has the last word.
func TestCORSFilter(t *testing.T) {
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		rule := g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
		rule.Action.CORS = openCORS
		rule.Action.ResponseHeaders = &router.HeaderFilter{Set: []router.Field{{Name: "Access-Control-Allow-Origin", Value: "https://a.test"}}}
		g.apply()
		res, _ := g.get("/")
		expectFields(t, "filtered", res.Header, fields{"Access-Control-Allow-Origin": "https://a.test"})
	})
}
