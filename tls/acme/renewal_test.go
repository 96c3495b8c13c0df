package acme

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"
	"time"
)

func TestRenewalTime(t *testing.T) {
	const day = 24 * time.Hour
	from := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	suggest := func(start, end time.Duration) window {
		return window{serial: "7", start: from.Add(start), end: from.Add(end)}
	}
	other := suggest(40*day, 42*day)
	other.serial = "8"
	for _, tc := range []struct {
		name             string
		lifetime, before time.Duration
		suggested        window
		issued           time.Duration // after from; 0 for unknown
		earliest, latest time.Duration // after from
	}{
		{name: "two thirds", lifetime: 90 * day, earliest: 60 * day, latest: 65 * day},
		{name: "two thirds of minutes", lifetime: 3 * time.Minute, earliest: 2 * time.Minute, latest: 129 * time.Second},
		{name: "asked for", lifetime: 90 * day, before: 10 * day, earliest: 79 * day, latest: 80 * day},
		{name: "asked for too much", lifetime: 6 * day, before: 30 * day, earliest: 2 * day, latest: 3 * day},
		{name: "suggested earlier", lifetime: 90 * day, suggested: suggest(40*day, 42*day), earliest: 40 * day, latest: 42 * day},
		{name: "suggested later", lifetime: 90 * day, suggested: suggest(70*day, 72*day), earliest: 70 * day, latest: 72 * day},
		{name: "suggested too late", lifetime: 90 * day, suggested: suggest(85*day, 100*day), earliest: 75 * day, latest: 75 * day},
		{name: "suggested for another", lifetime: 90 * day, suggested: other, earliest: 60 * day, latest: 65 * day},
		{name: "suggested nothing", lifetime: 90 * day, suggested: suggest(0, 90*day), earliest: 60 * day, latest: 65 * day},
		{name: "suggested before it was there", lifetime: 90 * day, suggested: suggest(-day, 20*day), earliest: 60 * day, latest: 65 * day},
		{name: "suggested now", lifetime: 90 * day, suggested: suggest(-2*time.Hour, -time.Hour), earliest: -2 * time.Hour, latest: -time.Hour},
		{name: "suggested now, and asked for", lifetime: 90 * day, before: 10 * day, suggested: suggest(-2*time.Hour, -time.Hour), earliest: -2 * time.Hour, latest: -time.Hour},
		{name: "asked for earlier than suggested", lifetime: 90 * day, before: 40 * day, suggested: suggest(60*day, 61*day), earliest: 48 * day, latest: 50 * day},
		{name: "suggested now, just issued", lifetime: 90 * day, suggested: suggest(-2*time.Hour, -time.Hour), issued: time.Hour, earliest: 7 * time.Hour, latest: 7 * time.Hour},
		{name: "minutes, just issued", lifetime: 4 * time.Minute, suggested: suggest(-2*time.Hour, -time.Hour), issued: time.Second, earliest: 61 * time.Second, latest: 61 * time.Second},
	} {
		h := &held{leaf: &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: from, NotAfter: from.Add(tc.lifetime), Raw: []byte(tc.name)}}
		if tc.issued != 0 {
			h.issued = from.Add(tc.issued)
		}
		got := h.renews(Certificate{RenewBefore: tc.before}, tc.suggested).Sub(from)
		if got < tc.earliest || got > tc.latest {
			t.Errorf("%s: after %v, want %v to %v", tc.name, got, tc.earliest, tc.latest)
		}
		if again := h.renews(Certificate{RenewBefore: tc.before}, tc.suggested).Sub(from); again != got {
			t.Errorf("%s: %v, and another time %v", tc.name, got, again)
		}
	}
}

// A certificate that somebody else ordered goes on when it is handed over.
func TestCertificateThatIsHandedOver(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := func(issuer string, names ...string) *x509.Certificate {
		return &x509.Certificate{RawIssuer: []byte(issuer), RawSubject: []byte("subject"), DNSNames: names, PublicKey: key.Public()}
	}
	ca := &issuer{Issuer: Issuer{Directory: "https://ca.test/directory"}}
	for _, tc := range []struct {
		name        string
		leaf        *x509.Certificate
		annotations map[string]string
		want        Certificate
		differs     string
	}{
		{name: "the same names", leaf: made("ca", "a.test"), want: Certificate{Names: []string{"a.test"}}},
		{name: "more names", leaf: made("ca", "a.test", "b.test"), want: Certificate{Names: []string{"b.test"}}},
		{name: "a wildcard", leaf: made("ca", "*.a.test", "a.test", "x.a.test"), want: Certificate{Names: []string{"*.a.test", "a.test"}}},
		{name: "no wildcard", leaf: made("ca", "a.test"), want: Certificate{Names: []string{"*.a.test", "a.test"}}, differs: "other names are wanted"},
		{name: "another key", leaf: made("ca", "a.test"), want: Certificate{Names: []string{"a.test"}, KeyAlgorithm: "RSA-2048"}, differs: "a key of another algorithm is wanted"},
		{name: "signed by itself", leaf: made("subject", "a.test"), want: Certificate{Names: []string{"a.test"}}, differs: "one from another CA is wanted"},
		{
			name: "ordered by us elsewhere", leaf: made("ca", "a.test"), annotations: map[string]string{AnnotationDirectory: "https://other.test"},
			want: Certificate{Names: []string{"a.test"}}, differs: "one from another CA is wanted",
		},
	} {
		h := &held{leaf: tc.leaf, stored: &Stored{Annotations: tc.annotations}}
		if got := h.differs(tc.want, ca); got != tc.differs {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.differs)
		}
	}
}
