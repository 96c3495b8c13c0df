package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/pebble"
	programs "github.com/lintel-dev/lintel/conformance/process"
	"github.com/lintel-dev/lintel/tls/acme"
)

// The profiles of the CA of tests. Certificates of the brief one are renewed while a test
// looks on.
const (
	longProfile  = "default"
	briefProfile = "brief"
	briefTime    = 45 * time.Second
)

// acmeWorld is a CA, and the zone example.test in a FAKE of Cloudflare, whose names all lead
// to this machine.
type acmeWorld struct {
	*testing.T
	ca    *pebble.Server
	dns   *cloudflare.Server
	roots *x509.CertPool
	// rootsAt and tokenAt are the places of what the CA's server is trusted by, and of
	// the token of Cloudflare.
	rootsAt, tokenAt string
	propagation      string // timeout; "" is the usual one
	// now is the clock of orders, and backoff their wait after failures; zero are the usual.
	now     func() time.Time
	backoff acme.Backoff
	// plain and secure are the ports that the CA asks on; any and other are two more.
	plain, secure, any, other uint16
}

func newACMEWorld(t *testing.T) *acmeWorld {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a CA")
	}
	w := &acmeWorld{T: t, roots: x509.NewCertPool()}
	ports, err := programs.FreePorts(t.Context(), 4)
	w.must(err)
	w.plain, w.secure, w.any, w.other = ports[0], ports[1], ports[2], ports[3]
	w.dns = cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}, RequestLimit: -1})
	for _, name := range []string{"example.test", "*.example.test"} {
		_, err := w.dns.Put("example.test", cloudflare.Record{Type: "A", Name: name, Content: "127.0.0.1"})
		w.must(err)
	}
	w.ca = pebble.ForTest(t, w.options(w.dns.DNS))
	issuers, err := w.ca.Issuers(t.Context())
	w.must(err)
	w.roots.AppendCertsFromPEM(issuers)
	w.rootsAt, w.tokenAt = filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "token")
	w.must(os.WriteFile(w.rootsAt, w.ca.Roots, 0o600))
	w.must(os.WriteFile(w.tokenAt, []byte(cloudflare.Token+"\n"), 0o600))
	w.tokenAt = "file:" + w.tokenAt
	return w
}

func (w *acmeWorld) options(dns string) pebble.Options {
	return pebble.Options{
		DNS: dns, HTTPPort: int(w.plain), TLSPort: int(w.secure), BadNonces: 20,
		Profiles: map[string]time.Duration{longProfile: 90 * 24 * time.Hour, briefProfile: briefTime},
	}
}

func (w *acmeWorld) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// issuers is the setting acme-issuers: one for each solver, and one whose certificates are
// brief.
func (w *acmeWorld) issuers() string {
	var list strings.Builder
	for _, i := range [][3]string{
		{"cloudflare", solverCloudflare, longProfile}, {"brief", solverCloudflare, briefProfile},
		{"http", solverHTTP, longProfile}, {"alpn", solverTLSALPN, longProfile},
	} {
		fmt.Fprintf(&list, "- {name: %s, solver: %s, profile: %s, directory: %q, caFile: %q, email: a@example.test, propagationTimeout: %q", i[0], i[1], i[2], w.ca.Directory, w.rootsAt, w.propagation)
		if i[1] == solverCloudflare {
			fmt.Fprintf(&list, ", credential: %q", w.tokenAt)
		}
		list.WriteString("}\n")
	}
	return list.String()
}

// startLintel runs the program in this process. The function that it returns ends it as
// SIGTERM does.
func (w *acmeWorld) startLintel(args ...string) (p *process, stop func()) {
	w.Helper()
	run := testRun{log: w.Output(), dns: w.dns.HTTPClient(), now: w.now, backoff: w.backoff}
	return run.start(w.T, append(args, "--acme-issuers="+w.issuers(), "--acme-resolvers="+w.dns.DNS)...)
}

// handshake returns the certificate that is served for a name, which must verify.
func (w *acmeWorld) handshake(port uint16, name string) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: name, RootCAs: w.roots}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// awaitServed awaits a certificate of the CA for a name.
func (w *acmeWorld) awaitServed(port uint16, name string) *x509.Certificate {
	w.Helper()
	var leaf *x509.Certificate
	w.await("certificate for "+name, func() string {
		var err error
		if leaf, err = w.handshake(port, name); err != nil {
			return err.Error()
		}
		return ""
	})
	return leaf
}

// await calls what until it returns "".
func (w *acmeWorld) await(name string, what func() string) {
	w.Helper()
	until(w.T, name, what)
}

// ordersFor counts the CA's orders that have a name.
func ordersFor(ca *pebble.Server, name string) int {
	n := 0
	for _, o := range ca.Orders() {
		for _, ordered := range o.Names {
			if ordered == name {
				n++
			}
		}
	}
	return n
}
