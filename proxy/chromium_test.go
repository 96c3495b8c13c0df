package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// page says by which protocol it and its script came, and what came back of a POST.
const page = `<!doctype html><title>Lintel</title><body><script src="/script.js"></script>`

const script = `
const text = "x".repeat(100000);
fetch("/echo", {method: "POST", body: text}).then(r => r.text()).then(got => {
	const entries = performance.getEntries().filter(e => e.nextHopProtocol);
	const protocols = new Set(entries.map(e => e.nextHopProtocol));
	document.body.innerText = "protocols: " + [...protocols].join(" ") + "; echoed: " + (got === text);
});`

// TestChromium loads a page over HTTP/2 and over HTTP/3 with a real browser, where there
// is one.
func TestChromium(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	for _, tt := range []struct {
		mode     mode
		protocol string
	}{{h2Mode, "h2"}, {h3Mode, "h3"}} {
		t.Run(tt.protocol, func(t *testing.T) {
			g := newGateway(t, tt.mode, Settings{NoHTTP3: !tt.mode.h3})
			g.route("/", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				_, _ = fmt.Fprint(w, page)
			}))
			g.route("/script.js", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/javascript")
				_, _ = fmt.Fprint(w, script)
			}))
			g.route("/echo", httpBackend(t, echo))
			g.apply()
			port := portOf(g.address())
			args := []string{
				"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
				"--no-proxy-server", "--user-data-dir=" + t.TempDir(),
				"--host-resolver-rules=MAP app.test 127.0.0.1, MAP * ~NOTFOUND",
				"--ignore-certificate-errors-spki-list=" + publicKeyHash(t),
				"--virtual-time-budget=10000", "--dump-dom",
			}
			if tt.mode.h3 {
				args = append(args, "--enable-quic", "--origin-to-force-quic-on="+net.JoinHostPort("app.test", port))
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			browser := exec.CommandContext(ctx, chromium, append(args, "https://app.test:"+port+"/")...)
			var notes strings.Builder
			browser.Stderr = &notes
			dom, err := browser.Output()
			if want := "protocols: " + tt.protocol + "; echoed: true"; err != nil || !strings.Contains(string(dom), want) {
				t.Errorf("want %q, got %v\n%s\n%s", want, err, dom, notes.String())
			}
			for n := range 3 {
				if x := g.observed(n + 1); x.Status != http.StatusOK || !strings.HasPrefix(strings.ToLower(x.Protocol), "http/"+tt.protocol[1:]) {
					t.Errorf("%s %s: %d over %s", x.Method, x.Path, x.Status, x.Protocol)
				}
			}
		})
	}
}

// publicKeyHash is what the browser knows the gateway's certificate by.
func publicKeyHash(t *testing.T) string {
	t.Helper()
	made, err := makeCertificate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(made.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
