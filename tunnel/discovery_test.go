package tunnel_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/conformance/edge"
	"github.com/lintel-dev/lintel/proxy"
	"github.com/lintel-dev/lintel/tunnel"
)

// zone answers for argotunnel.com over TLS, by which no other tests are disturbed.
type zone struct {
	mu      sync.Mutex
	service string          // of the SRV records
	regions [2][]netip.Addr // region1.v2 and region2.v2
	port    uint16          // of the edge
}

// ServeDNS implements dns.Handler.
func (z *zone) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	answer := new(dns.Msg)
	answer.SetReply(query)
	question := query.Question[0]
	header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: 60}
	for i, target := range []string{"region1.v2.argotunnel.com.", "region2.v2.argotunnel.com."} {
		switch {
		case question.Qtype == dns.TypeSRV && question.Name == "_"+z.service+"._tcp.argotunnel.com.":
			answer.Answer = append(answer.Answer, &dns.SRV{Hdr: header, Priority: uint16(i + 1), Weight: 1, Port: z.port, Target: target})
		case question.Name == target:
			for _, address := range z.regions[i] {
				switch {
				case question.Qtype == dns.TypeA && address.Is4():
					answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: address.AsSlice()})
				case question.Qtype == dns.TypeAAAA && address.Is6():
					answer.Answer = append(answer.Answer, &dns.AAAA{Hdr: header, AAAA: address.AsSlice()})
				}
			}
		}
	}
	if len(answer.Answer) == 0 {
		answer.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(answer)
}

// resolver runs z as a server of DNS over TLS, and returns who asks it.
func (z *zone) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"dns.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: listener, Handler: z}
	var served sync.WaitGroup
	served.Go(func() { _ = server.ActivateAndServe() })
	t.Cleanup(func() {
		_ = server.Shutdown()
		served.Wait()
	})
	return tunnel.ResolverOverTLS(listener.Addr().String(), &tls.Config{ServerName: "dns.test", RootCAs: roots})
}

// brokenResolver is one whose server is never reached.
func brokenResolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no route to the name server")
	}}
}

func TestEdgeIsFoundByDNS(t *testing.T) {
	for _, endpoint := range []string{"", "us"} {
		t.Run("endpoint "+endpoint, func(t *testing.T) {
			fake := edge.ForTest(t, edge.Options{Servers: 8})
			z := &zone{service: "v2-origintunneld", port: fake.Addresses()[0].Port()}
			if endpoint != "" {
				z.service = endpoint + "-" + z.service
			}
			for i, address := range fake.Addresses() {
				z.regions[i/4] = append(z.regions[i/4], address.Addr())
			}
			id := uuid.New()
			credentials, err := tunnel.ParseToken(fake.Allow(id))
			if err != nil {
				t.Fatal(err)
			}
			credentials.Endpoint = endpoint
			resolvers := []*net.Resolver{brokenResolver(), z.resolver(t)}
			run(t, fake, id, tunnel.Settings{Edge: tunnel.Edge{Resolvers: resolvers, Roots: fake.Roots}}, credentials)
			var first, second int
			for _, c := range fake.Connections(id) {
				if c.Server < 4 {
					first++
				} else {
					second++
				}
			}
			if first != 2 || second != 2 {
				t.Errorf("%d connections to one region, %d to the other", first, second)
			}
		})
	}
}

// run connects a tunnel until the test ends.
func run(t *testing.T, fake *edge.Edge, id uuid.UUID, settings tunnel.Settings, credentials tunnel.Credentials) *tunnel.Connector {
	t.Helper()
	c := tunnel.New(settings)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	c.Apply(map[string]tunnel.Config{"home": {Credentials: credentials, Handler: proxy.New(proxy.Settings{}).Entry()}})
	waiting, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	if err := fake.Wait(waiting, id, 4); err != nil {
		t.Fatalf("%v; status %+v", err, c.Status()["home"].Failure)
	}
	return c
}

// When all addresses fail, DNS is asked again.
func TestEdgeMoves(t *testing.T) {
	old, moved := edge.ForTest(t, edge.Options{}), edge.ForTest(t, edge.Options{})
	id := uuid.New()
	credentials, err := tunnel.ParseToken(old.Allow(id))
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{service: "v2-origintunneld"}
	point := func(e *edge.Edge) {
		z.mu.Lock()
		defer z.mu.Unlock()
		z.port, z.regions = e.Addresses()[0].Port(), [2][]netip.Addr{}
		for i, address := range e.Addresses() {
			z.regions[i%2] = append(z.regions[i%2], address.Addr())
		}
	}
	point(old)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(slices.Concat(old.RootsPEM, moved.RootsPEM))
	retry := tunnel.Retry{First: 20 * time.Millisecond, Max: 100 * time.Millisecond, Refused: 100 * time.Millisecond}
	settings := tunnel.Settings{Edge: tunnel.Edge{Resolvers: []*net.Resolver{z.resolver(t)}, Roots: roots}, Retry: retry}
	run(t, old, id, settings, credentials)
	moved.AllowSecret(id, credentials.Secret)
	point(moved)
	for i := range 4 {
		old.Stop(i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := moved.Wait(ctx, id, 4); err != nil {
		t.Error(err)
	}
}

func TestNobodyKnowsTheEdge(t *testing.T) {
	s := newSite(t, siteOptions{})
	c := tunnel.New(tunnel.Settings{Edge: tunnel.Edge{Resolvers: []*net.Resolver{brokenResolver()}}})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	c.Apply(map[string]tunnel.Config{"home": s.config})
	s.eventually("the status says why", func() bool { return c.Status()["home"].Failure != nil })
	if f := c.Status()["home"].Failure; f.Permanent {
		t.Errorf("failure %+v", f)
	}
	cancel()
	running.Wait()
}
