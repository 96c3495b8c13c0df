package proxy

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// namedServers are endpoints that answer with their address.
func namedServers(t *testing.T, n int) []*httptest.Server {
	var all []*httptest.Server
	for range n {
		s := httptest.NewUnstartedServer(nil)
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, s.Listener.Addr().String())
		})
		s.Start()
		t.Cleanup(s.Close)
		all = append(all, s)
	}
	return all
}

func backendOf(name string, servers ...*httptest.Server) *router.Backend {
	b := router.NewBackend(name)
	var addrs []netip.AddrPort
	for _, s := range servers {
		addrs = append(addrs, netip.MustParseAddrPort(s.Listener.Addr().String()))
	}
	b.SetEndpoints(addrs)
	return b
}

func TestSessionCookie(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		servers := namedServers(t, 8)
		backend := backendOf("default/app:80", servers...)
		g.route("/", backend).Action.Session = &router.Session{Name: "sid"}
		g.apply()
		res, first := g.get("/")
		cookies := res.Cookies()
		if len(cookies) != 1 || cookies[0].Name != "sid" || cookies[0].Path != "/" || !cookies[0].HttpOnly ||
			cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].Secure != g.mode.tls || cookies[0].MaxAge != 0 {
			t.Fatalf("cookies %v", res.Header["Set-Cookie"])
		}
		if raw, err := base64.RawURLEncoding.DecodeString(cookies[0].Value); err != nil || strings.Contains(string(raw), "127.0.0.1") {
			t.Errorf("value %q", cookies[0].Value)
		}
		send := fields{"Cookie": "a=b; sid=" + cookies[0].Value + "; c=d"}
		for range 50 {
			res, body := g.request("GET", "/", send)
			if body != first || len(res.Cookies()) != 0 {
				t.Fatalf("came to %s, not %s; cookies %v", body, first, res.Cookies())
			}
		}
		// An endpoint that is gone has to be replaced, and that one is kept from then on.
		var rest []netip.AddrPort
		for _, e := range backend.Endpoints() {
			if e.Addr.String() != first {
				rest = append(rest, e.Addr)
			}
		}
		backend.SetEndpoints(rest)
		res, second := g.request("GET", "/", send)
		if second == first || len(res.Cookies()) != 1 {
			t.Fatalf("came to %s; cookies %v", second, res.Cookies())
		}
		for range 20 {
			if _, body := g.request("GET", "/", fields{"Cookie": "sid=" + res.Cookies()[0].Value}); body != second {
				t.Fatalf("came to %s, not %s", body, second)
			}
		}
		// So has one that refuses connections, though it is listed.
		for _, s := range servers {
			if s.Listener.Addr().String() == second {
				s.Close()
			}
		}
		if res, third := g.request("GET", "/", fields{"Cookie": "sid=" + res.Cookies()[0].Value}); third == second || len(res.Cookies()) != 1 {
			t.Errorf("came to %s; cookies %v", third, res.Cookies())
		}
		for _, bad := range []string{"", "x", "AAAA", strings.Repeat("A", 5000), cookies[0].Value[1:] + "A"} {
			if res, _ := g.request("GET", "/", fields{"Cookie": "sid=" + bad}); res.StatusCode != 200 || len(res.Cookies()) != 1 {
				t.Errorf("%.20q: %d, cookies %v", bad, res.StatusCode, res.Cookies())
			}
		}
	})
}

func TestSessionHeader(t *testing.T) {
	run(t, clientModes, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", backendOf("default/app:80", namedServers(t, 8)...)).Action.Session = &router.Session{Name: "X-Session", Header: true}
		g.apply()
		res, first := g.get("/")
		id := res.Header.Get("X-Session")
		if id == "" || len(res.Cookies()) != 0 {
			t.Fatalf("%v", res.Header)
		}
		for range 30 {
			if _, body := g.request("GET", "/", fields{"x-session": id}); body != first {
				t.Fatalf("came to %s, not %s", body, first)
			}
		}
	})
}

// Weights choose the Backend each time; the session of each is kept meanwhile.
func TestSessionsOfWeightedBackends(t *testing.T) {
	run(t, []mode{plainMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		a := backendOf("default/a:80", namedServers(t, 4)...)
		b := backendOf("default/b:80", namedServers(t, 4)...)
		g.route("/", a, b).Action.Session = &router.Session{Name: "sid"}
		g.apply()
		cookie, seen := "", map[string]int{}
		for range 60 {
			res, body := g.request("GET", "/", fields{"Cookie": cookie})
			seen[body]++
			if set := res.Cookies(); len(set) > 0 {
				cookie = "sid=" + set[0].Value
			}
		}
		if len(seen) != 2 {
			t.Errorf("came to %v, want one endpoint of each Backend", seen)
		}
	})
}

func TestSessionRunsOut(t *testing.T) {
	run(t, []mode{plainMode}, Settings{}, func(t *testing.T, g *gateway) {
		backend := backendOf("default/app:80", namedServers(t, 1)...)
		permanent := router.Session{Name: "sid", Absolute: time.Hour, Permanent: true, Path: "/permanent"}
		g.route("/permanent", backend).Action.Session = &permanent
		g.route("/absolute", backend).Action.Session = &router.Session{Name: "sid", Absolute: time.Minute}
		g.route("/idle", backend).Action.Session = &router.Session{Name: "sid", Idle: time.Minute}
		g.apply()
		res, _ := g.get("/permanent")
		if c := res.Cookies()[0]; c.MaxAge != 3600 || c.Path != "/permanent" {
			t.Errorf("%v", res.Header["Set-Cookie"])
		}
		value, _ := base64.RawURLEncoding.DecodeString(res.Cookies()[0].Value)
		aged := func(began, used time.Duration) fields {
			old := append([]byte(nil), value...)
			for at, age := range map[int]time.Duration{12: began, 16: used} {
				seconds := uint32(time.Now().Add(-age).Unix())
				old[at], old[at+1], old[at+2], old[at+3] = byte(seconds>>24), byte(seconds>>16), byte(seconds>>8), byte(seconds)
			}
			return fields{"Cookie": "sid=" + base64.RawURLEncoding.EncodeToString(old)}
		}
		for _, test := range []struct {
			what, path  string
			began, used time.Duration
			renewed     bool
		}{
			{"young", "/absolute", 30 * time.Second, 30 * time.Second, false},
			{"over", "/absolute", 2 * time.Minute, 0, true},
			{"idle for long", "/idle", time.Hour, 2 * time.Minute, true},
			{"in use", "/idle", time.Hour, 30 * time.Second, true}, // which is to be known
			{"permanent", "/permanent", 30 * time.Minute, 0, false},
		} {
			res, _ := g.request("GET", test.path, aged(test.began, test.used))
			if renewed := len(res.Cookies()) > 0; renewed != test.renewed {
				t.Errorf("%s: cookies %v", test.what, res.Cookies())
			}
		}
	})
}
