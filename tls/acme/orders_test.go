package acme_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/knot"
	"github.com/lintel-dev/lintel/conformance/pebble"
	edgetls "github.com/lintel-dev/lintel/tls"
	"github.com/lintel-dev/lintel/tls/acme"
)

// A zone and everything below it come into one certificate by one order, and nothing
// is left behind but the certificate and the account.
func TestWildcardAndApexByCloudflare(t *testing.T) {
	t.Parallel()
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	want := acme.Certificate{Name: acme.Name{Namespace: "shop", Name: "wildcard"}, Names: []string{"*." + zone, zone}, Issuer: "main"}
	begun := time.Now()
	r := start(t, options(t, storage, shared.issuer("main")), want)
	state := r.untilReady(t, want.Name)
	t.Logf("took %v, stages %v", time.Since(begun), r.history())
	leaf, stored := load(t, storage, want.Name)
	verify(t, stored, shared.roots, zone, "any."+zone)
	if !slices.Equal(leaf.DNSNames, []string{"*." + zone, zone}) && !slices.Equal(leaf.DNSNames, []string{zone, "*." + zone}) {
		t.Errorf("names %v", leaf.DNSNames)
	}
	third := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 6 / 10)
	if !state.NotAfter.Equal(leaf.NotAfter) || state.Renews.Before(third) || state.Renews.After(leaf.NotAfter) || state.Message != "" {
		t.Errorf("state %+v", state)
	}
	if n := len(shared.orders(zone)); n != 1 {
		t.Errorf("%d orders", n)
	}
	if left := shared.leftovers(zone); len(left) > 0 {
		t.Errorf("records left: %v", left)
	}
	if stored.Annotations[acme.AnnotationIssuer] != "main" || !stored.Owned {
		t.Errorf("stored %+v", stored.Annotations)
	}
}

// The same by dynamic updates, for a zone of a server of one's own.
func TestWildcardAndApexByRFC2136(t *testing.T) {
	t.Parallel()
	const zone = "testwildcardandapexbyrfc2136.test"
	server := knot.ForTest(t, knot.Options{Zones: []string{zone}, NoTransfer: true})
	_, issuer := ownCA(t, func(o *pebble.Options) { o.DNS = server.Address })
	provider := acme.RFC2136{Server: server.Address, KeyName: server.Key.Name, Key: func() (string, error) { return "d3Jvbmc=", nil }}
	issuer.Solver = acme.DNS01{Provider: provider, Resolvers: []string{server.Address}}
	storage := directory(t, t.TempDir())
	want := single(zone)
	want.Names = append(want.Names, "*."+zone)
	r := start(t, options(t, storage, issuer), want)
	r.untilFailed(t, want.Name, "add TXT record _acme-challenge."+zone+" to zone "+zone+".: DNS server "+server.Address)
	r.end()
	provider.Key = func() (string, error) { return server.Key.Secret, nil }
	issuer.Solver = acme.DNS01{Provider: provider, Resolvers: []string{server.Address}}
	next := start(t, options(t, storage, issuer), want)
	next.untilReady(t, want.Name)
	if leaf, _ := load(t, storage, want.Name); len(leaf.DNSNames) != 2 {
		t.Errorf("names %v", leaf.DNSNames)
	}
	answer, err := dns.Exchange(new(dns.Msg).SetQuestion("_acme-challenge."+zone+".", dns.TypeTXT), server.Address)
	if err != nil || len(answer.Answer) > 0 {
		t.Errorf("records left: %v, %v", answer, err)
	}
}

func TestHTTPAndTLSChallenges(t *testing.T) {
	t.Parallel()
	for name, solver := range map[string]acme.Solver{"http": acme.HTTP01{}, "tls": acme.TLSALPN01{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, storage := shared.zone(t), directory(t, t.TempDir())
			issuer := shared.issuer("main")
			issuer.Solver = solver
			want := acme.Certificate{Name: acme.Name{Namespace: "a", Name: "b"}, Names: []string{"one." + zone, "two." + zone}, Issuer: "main"}
			r := start(t, options(t, storage, issuer), want)
			r.untilReady(t, want.Name)
			_, stored := load(t, storage, want.Name)
			verify(t, stored, shared.roots, want.Names...)
			wild := want
			wild.Names = []string{"*." + zone}
			r.Apply([]acme.Certificate{wild})
			r.untilFailed(t, want.Name, `a CA gives *.`+zone+` only by dns-01, but issuer "main" proves names by `+name+`-`)
		})
	}
}

// Two Secrets for one name: a handshake answers for one order at a time, and neither fails.
func TestOneNameInTwoSecrets(t *testing.T) {
	t.Parallel()
	for name, solver := range map[string]acme.Solver{"http": acme.HTTP01{}, "tls": acme.TLSALPN01{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, storage := shared.zone(t), directory(t, t.TempDir())
			issuer := shared.issuer("main")
			issuer.Solver = solver
			var want []acme.Certificate
			for _, names := range [][]string{{"one", "two"}, {"two", "one"}, {"two", "three"}} {
				c := acme.Certificate{Name: acme.Name{Namespace: "a", Name: fmt.Sprint("c", len(want))}, Issuer: "main"}
				for _, n := range names {
					c.Names = append(c.Names, n+"."+zone)
				}
				want = append(want, c)
			}
			r := start(t, options(t, storage, issuer), want...)
			for _, c := range want {
				r.untilReady(t, c.Name)
			}
			if h := r.history(); slices.Contains(h, "Failed") {
				t.Errorf("stages %v", h)
			}
			if n := len(shared.orders(zone)); n != len(want) {
				t.Errorf("%d orders", n)
			}
		})
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	t.Parallel()
	zone, path := shared.zone(t), t.TempDir()
	storage := directory(t, path)
	want := acme.Certificate{Name: acme.Name{Namespace: "a", Name: "b"}, Names: []string{zone}, Issuer: "main"}
	r := start(t, options(t, storage, shared.issuer("main")), want)
	r.untilReady(t, want.Name)
	err := filepath.WalkDir(path, func(file string, entry os.DirEntry, err error) error {
		if err != nil || file == path {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if perm := info.Mode().Perm(); info.Mode()&os.ModeSymlink == 0 && perm&0o077 != 0 {
			t.Errorf("%s: %v", file, perm)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names, err := storage.Names()
	if err != nil || !slices.Equal(names, []acme.Name{want.Name}) {
		t.Errorf("names %v, %v", names, err)
	}
}

// Three replicas that all want to order make one order and one account.
func TestReplicasOrderOnce(t *testing.T) {
	t.Parallel()
	ca, issuer := ownCA(t, nil)
	zone, path := shared.zone(t), t.TempDir()
	want := []acme.Certificate{single(zone), single("other." + zone)}
	want[1].Name.Name = "other"
	var replicas sync.WaitGroup
	for range 3 {
		replicas.Go(func() {
			r := start(t, options(t, directory(t, path), issuer), want...)
			for _, w := range want {
				r.untilReady(t, w.Name)
			}
		})
	}
	replicas.Wait()
	if n := len(ca.Orders()); n != len(want) {
		t.Errorf("%d orders", n)
	}
	if n := ca.Calls(pebble.NewAccount); n != 1 {
		t.Errorf("%d accounts", n)
	}
}

// A replica that stops leading and leads again goes on as before.
func TestRunAgain(t *testing.T) {
	t.Parallel()
	zone := shared.zone(t)
	storage, o := directory(t, t.TempDir()), options(t, nil, shared.issuer("main"))
	changed := make(chan struct{}, 1)
	o.Storage, o.Changed = storage, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	orders, err := acme.New(o)
	if err != nil {
		t.Fatal(err)
	}
	want := []acme.Certificate{single(zone), single("www." + zone), single("nobody.nowhere.test")}
	want[1].Name.Name, want[2].Name.Name = "www", "failed"
	for n := range want {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		orders.Apply(want[:n+1])
		done := make(chan error, 1)
		go func() { done <- orders.Run(ctx) }()
		for orders.States()[want[n].Name].Stage != [...]acme.Stage{acme.Ready, acme.Ready, acme.Failed}[n] && ctx.Err() == nil {
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("Run %d: %v, %v", n, err, orders.States())
		}
	}
	if state := orders.States()[want[2].Name]; state.Stage != acme.Pending || state.Message != "" {
		t.Errorf("who does not run knows %+v", state)
	}
	if n := len(shared.orders(zone)); n != 2 {
		t.Errorf("%d orders", n)
	}
}

// Short-lived certificates are renewed at two thirds of their life, one order each,
// and there is a valid one at any time.
func TestRenewal(t *testing.T) {
	t.Parallel()
	zone, storage, issuer := shared.zone(t), directory(t, t.TempDir()), shared.issuer("main")
	issuer.Profile = brief
	want := single(zone)
	r := start(t, options(t, storage, issuer), want)
	r.untilReady(t, want.Name)
	leaf, _ := load(t, storage, want.Name)
	r.until(t, want.Name, "renewed", func(s acme.State) bool { return s.NotAfter.After(leaf.NotAfter) })
	if time.Now().After(leaf.NotAfter) {
		t.Error("for a while there was no valid certificate")
	}
	next, _ := load(t, storage, want.Name)
	if age := next.NotBefore.Sub(leaf.NotBefore); next.SerialNumber.Cmp(leaf.SerialNumber) == 0 || age < briefLifetime*6/10 {
		t.Errorf("renewed after %v", age)
	}
	if samePublicKey(leaf, next) {
		t.Error("the key is the same")
	}
	if n := len(shared.orders(zone)); n != 2 {
		t.Errorf("%d orders", n)
	}
}

func samePublicKey(a, b *x509.Certificate) bool {
	return slices.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}

// A CA that knows nothing of the certificate that an order says to replace, and takes
// that for a fault of its own, gets one that does not say so.
func TestRenewalOfWhatTheCAForgot(t *testing.T) {
	t.Parallel()
	ca, issuer := ownCA(t, nil)
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	want := single(zone)
	r := start(t, options(t, storage, issuer), want)
	r.untilReady(t, want.Name)
	r.end()
	_, stored := load(t, storage, want.Name)
	other, otherIssuer := ownCA(t, nil)
	stored.Annotations[acme.AnnotationDirectory] = other.Directory
	if err := storage.Save(t.Context(), want.Name, stored); err != nil {
		t.Fatal(err)
	}
	want.Names = append(want.Names, "www."+zone)
	next := start(t, options(t, storage, otherIssuer), want)
	next.until(t, want.Name, "replaced", func(s acme.State) bool { return s.Stage == acme.Ready && len(other.Orders()) == 1 })
	if n := len(ca.Orders()); n != 1 {
		t.Errorf("%d orders at the CA before", n)
	}
}

// A CA that wants a certificate replaced is heard (RFC 9773).
func TestRenewalThatTheCAWants(t *testing.T) {
	t.Parallel()
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	want := single(zone)
	r := start(t, options(t, storage, shared.issuer("main")), want)
	end := r.untilReady(t, want.Name).NotAfter
	r.end()
	leaf, stored := load(t, storage, want.Name)
	stored.Annotations["lintel.dev/issued"] = time.Now().Add(-24 * time.Hour).Format(time.RFC3339) // it has been there for a day
	if err := storage.Save(t.Context(), want.Name, stored); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(stored.CertPEM)
	if err := shared.ca.SetRenewalInfo(t.Context(), pem.EncodeToMemory(block), leaf.NotBefore.Add(time.Millisecond), leaf.NotBefore.Add(2*time.Second)); err != nil {
		t.Fatal(err)
	}
	next := start(t, options(t, storage, shared.issuer("main")), want)
	next.until(t, want.Name, "renewed", func(s acme.State) bool { return s.NotAfter.After(end) })
	next.untilReady(t, want.Name)
	if n := len(shared.orders(zone)); n != 2 {
		t.Errorf("%d orders", n)
	}
}

// While a certificate with other names, or from another issuer, is ordered, the one
// that is there stays; one that nobody wants any more stays too.
func TestWhatIsWantedChanges(t *testing.T) {
	t.Parallel()
	zone, storage, other := shared.zone(t), directory(t, t.TempDir()), shared.issuer("other")
	other.Profile = brief
	want := single(zone)
	r := start(t, options(t, storage, shared.issuer("main"), other), want)
	r.untilReady(t, want.Name)
	first, _ := load(t, storage, want.Name)
	broken := want
	broken.Names = []string{zone, "www." + zone, "nowhere.nobody.test"}
	r.Apply([]acme.Certificate{broken})
	if state := r.untilFailed(t, want.Name, "nowhere.nobody.test"); !state.NotAfter.Equal(first.NotAfter) {
		t.Errorf("state %+v", state)
	}
	if kept, _ := load(t, storage, want.Name); kept.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Error("the certificate is another")
	}
	want.Names = []string{zone, "www." + zone, zone}
	r.Apply([]acme.Certificate{want})
	r.untilReady(t, want.Name)
	second, _ := load(t, storage, want.Name)
	if len(second.DNSNames) != 2 {
		t.Errorf("names %v", second.DNSNames)
	}
	want.Issuer = "other"
	r.Apply([]acme.Certificate{want})
	r.until(t, want.Name, "from the other", func(s acme.State) bool {
		return s.Stage == acme.Ready && s.Issuer == "other" && s.NotAfter.Before(second.NotAfter)
	})
	r.Apply(nil)
	if len(r.States()) != 0 {
		t.Errorf("states %v", r.States())
	}
	load(t, storage, want.Name)
}

// A certificate is not said to be ready for names that it does not have, also while one that
// was ordered just now is let rest.
func TestOtherNamesAreNotReady(t *testing.T) {
	t.Parallel()
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	o := options(t, storage, shared.issuer("main"))
	o.Backoff = acme.Backoff{First: 6 * time.Minute, Most: time.Hour} // it rests for a minute
	var ahead atomic.Int64
	o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	want := single(zone)
	r := start(t, o, want)
	r.untilReady(t, want.Name)
	want.Names = []string{"www." + zone}
	r.Apply([]acme.Certificate{want})
	if state := r.States()[want.Name]; state.Stage == acme.Ready {
		t.Errorf("state %+v", state)
	}
	r.until(t, want.Name, "waiting a moment", func(s acme.State) bool {
		return s.Stage == acme.Pending && strings.Contains(s.Message, "other names are wanted") && !s.NotAfter.IsZero()
	})
	ahead.Store(int64(time.Minute))
	r.Apply([]acme.Certificate{want}) // it looks at the clock
	r.untilReady(t, want.Name)
	if leaf, _ := load(t, storage, want.Name); !slices.Equal(leaf.DNSNames, want.Names) {
		t.Errorf("ready with names %v", leaf.DNSNames)
	}
}

// While what is wanted keeps changing there are few orders, and the last wish is fulfilled.
func TestWishesThatKeepChanging(t *testing.T) {
	t.Parallel()
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	o := options(t, storage, shared.issuer("main"))
	o.Backoff = acme.Backoff{First: 18 * time.Second, Most: time.Minute} // others are ordered after 3 s
	want := single(zone)
	r := start(t, o, want)
	for _, host := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		r.until(t, want.Name, "at work", func(s acme.State) bool { return s.Stage != acme.Ready })
		want.Names = append(slices.Clone(want.Names), host+"."+zone)
		r.Apply([]acme.Certificate{want})
		time.Sleep(100 * time.Millisecond) // as people and deployments do
	}
	r.untilReady(t, want.Name)
	if leaf, _ := load(t, storage, want.Name); len(leaf.DNSNames) != len(want.Names) {
		t.Errorf("names %v", leaf.DNSNames)
	}
	if n := len(shared.orders(zone)); n > 3 {
		t.Errorf("%d orders", n)
	}
}

func TestKeysAndCommonName(t *testing.T) {
	t.Parallel()
	zone, storage := shared.zone(t), directory(t, t.TempDir())
	var want []acme.Certificate
	for _, algorithm := range []string{"", "ECDSA-384", "RSA-2048", "DSA"} {
		c := single("www." + zone)
		c.Names = append(c.Names, zone)
		c.Name.Name, c.KeyAlgorithm, c.CommonName = "key"+strings.ToLower(algorithm), algorithm, zone
		want = append(want, c)
	}
	r := start(t, options(t, storage, shared.issuer("main")), want...)
	for i, bits := range []int{256, 384, 2048} {
		r.untilReady(t, want[i].Name)
		leaf, _ := load(t, storage, want[i].Name)
		got := 0
		switch key := leaf.PublicKey.(type) {
		case *ecdsa.PublicKey:
			got = key.Params().BitSize
		case *rsa.PublicKey:
			got = key.N.BitLen()
		}
		if got != bits {
			t.Errorf("%s: %d bits", want[i].KeyAlgorithm, got)
		}
	}
	r.untilFailed(t, want[3].Name, `key algorithm "DSA" is unknown: use ECDSA-256, `)
	elsewhere := single(zone)
	elsewhere.CommonName = "other.test"
	r.Apply([]acme.Certificate{elsewhere})
	r.untilFailed(t, elsewhere.Name, "the common name other.test is none of its names, which are "+zone)
	elsewhere.Issuer = "nobody"
	r.Apply([]acme.Certificate{elsewhere})
	r.untilFailed(t, elsewhere.Name, `there is no issuer "nobody"`)
}

func TestExternalAccountAndPreferredChain(t *testing.T) {
	t.Parallel()
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	ca, issuer := ownCA(t, func(o *pebble.Options) {
		o.ExternalAccounts, o.AlternateChains = map[string]string{"kid-1": key}, 2
	})
	text, err := ca.Issuers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var last *x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if last, err = x509.ParseCertificate(block.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	storage, want := directory(t, t.TempDir()), single(shared.zone(t))
	r := start(t, options(t, storage, issuer), want)
	r.untilFailed(t, want.Name, "externalAccountRequired")
	r.end()
	issuer.ExternalAccount = &acme.ExternalAccount{ID: "kid-1", Key: func() (string, error) { return key + "\n", nil }}
	issuer.PreferredChain = last.Subject.CommonName
	next := start(t, options(t, storage, issuer), want)
	next.untilReady(t, want.Name)
	_, stored := load(t, storage, want.Name)
	roots := x509.NewCertPool()
	roots.AddCert(last)
	verify(t, stored, roots, want.Names...)
}

// Where somebody else has put a certificate, it is left alone, and ordered only when
// that is gone.
func TestForeignCertificate(t *testing.T) {
	t.Parallel()
	zone, path := shared.zone(t), t.TempDir()
	storage, want := directory(t, path), single(zone)
	certPEM, keyPEM, err := edgetls.SelfSigned([]string{zone}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(path, want.Name.Namespace, want.Name.Name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{"tls.crt": certPEM, "tls.key": keyPEM} {
		if err := os.WriteFile(filepath.Join(folder, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, options(t, storage, shared.issuer("main")), want)
	state := r.until(t, want.Name, "foreign", func(s acme.State) bool { return s.Stage == acme.Foreign })
	if state.Message == "" {
		t.Error("it does not say why")
	}
	if err := storage.Save(t.Context(), want.Name, &acme.Stored{}); err == nil || !strings.Contains(err.Error(), "not made by Lintel") {
		t.Errorf("save: %v", err)
	}
	if n := len(shared.orders(zone)); n != 0 {
		t.Errorf("%d orders", n)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	r.Recheck(want.Name)
	r.untilReady(t, want.Name)
}

// _acme-challenge may be an alias for a name in another zone, which is where the
// record has to be made; what a wildcard makes of that name is no such alias.
func TestDelegatedChallenge(t *testing.T) {
	t.Parallel()
	zone, others := shared.zone(t), "testdelegatedchallenge-others.test"
	shared.dns.AddZone(others)
	t.Cleanup(func() { shared.dns.RemoveZone(others) })
	put := func(zone string, r cloudflare.Record) {
		t.Helper()
		if _, err := shared.dns.Put(zone, r); err != nil {
			t.Fatal(err)
		}
	}
	put(zone, cloudflare.Record{Type: "CNAME", Name: "_acme-challenge." + zone, Content: "zone.challenges." + others})
	put(zone, cloudflare.Record{Type: "CNAME", Name: "*.wild." + zone, Content: "elsewhere." + others})
	put(others, cloudflare.Record{Type: "A", Name: "elsewhere." + others, Content: "127.0.0.1"})
	for name, grant := range map[string]struct{ zone, name string }{"delegated": {others, zone}, "wildcard": {zone, "wild." + zone}} {
		t.Run(name, func(t *testing.T) {
			token := "token-for-one-zone-alone-0000000000" + name
			shared.dns.SetToken(token, cloudflare.Grant{Zones: []string{grant.zone}, Write: true}) // it could not write elsewhere
			issuer := shared.issuer("main")
			issuer.Solver = acme.DNS01{
				Provider:  acme.Cloudflare{Token: func() (string, error) { return token, nil }, HTTPClient: shared.dns.HTTPClient()},
				Resolvers: []string{shared.dns.DNS},
			}
			want := single(grant.name)
			want.Names = append(want.Names, "*."+grant.name)
			start(t, options(t, directory(t, t.TempDir()), issuer), want).untilReady(t, want.Name)
			if left := append(shared.leftovers(zone), shared.leftovers(others)...); len(left) > 0 {
				t.Errorf("records left: %v", left)
			}
		})
	}
}

func TestIssuersThatCannotWork(t *testing.T) {
	t.Parallel()
	good := shared.issuer("main")
	for want, change := range map[string]func(*acme.Issuer){
		`issuer "main": directory "http://ca.test" is not an https URL`: func(i *acme.Issuer) { i.Directory = "http://ca.test" },
		`issuer "main": it needs a solver: DNS01, HTTP01 or TLSALPN01`:  func(i *acme.Issuer) { i.Solver = nil },
		`issuer "main": DNS-01 needs a provider: Cloudflare or RFC2136`: func(i *acme.Issuer) { i.Solver = acme.DNS01{} },
		`issuer "main": Cloudflare needs an API token`: func(i *acme.Issuer) {
			i.Solver = acme.DNS01{Provider: acme.Cloudflare{}}
		},
		`issuer "main": RFC 2136 needs a server, and the name and secret of a TSIG key`: func(i *acme.Issuer) {
			i.Solver = acme.DNS01{Provider: acme.RFC2136{Server: "127.0.0.1"}}
		},
		`issuer "main": an external account needs an ID and a key`: func(i *acme.Issuer) { i.ExternalAccount = &acme.ExternalAccount{ID: "a"} },
	} {
		issuer := good
		change(&issuer)
		if _, err := acme.New(options(t, nil, issuer)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := acme.New(options(t, nil, good, good)); err == nil || err.Error() != `issuer "main": there are two of this name` {
		t.Errorf("got %v", err)
	}
}
