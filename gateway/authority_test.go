package gateway

import (
	"os"
	"testing"

	"golang.org/x/tools/txtar"
)

// TestOtherAuthoritiesMakeAnotherBackend: what an endpoint was trusted for must not
// outlive the certificates by which it was trusted.
func TestOtherAuthoritiesMakeAnotherBackend(t *testing.T) {
	content, err := os.ReadFile("testdata/backendtlspolicy-settings.txtar")
	if err != nil {
		t.Fatal(err)
	}
	s := readSnapshot(t, txtar.Parse(content).Files[0].Data)
	port := BackendKey{ServicePort: ServicePort{Service: nameOf(s.Services[0]), Port: 443}}
	var memo Memo
	before := Build(s, &memo).Backends[port]

	same := s.ConfigMaps[0].DeepCopy()
	s.ConfigMaps[0] = same
	if got := Build(s, &memo).Backends[port]; got != before {
		t.Error("another Backend, though the authorities are the same")
	}

	more := same.DeepCopy()
	more.Data[keyAuthorities] += string(s.Secrets[0].Data["tls.crt"])
	s.ConfigMaps[0] = more
	after := Build(s, &memo).Backends[port]
	if after == before || after.TLS().Roots.Equal(before.TLS().Roots) {
		t.Error("the Backend trusts as before, though the authorities are others")
	}

	none := same.DeepCopy()
	none.Data = nil
	s.ConfigMaps[0] = none
	if got := Build(s, &memo).Backends[port]; got != nil {
		t.Errorf("a Backend that speaks %v, though there are no authorities", got.Protocol())
	}
}

// TestAnotherCertificateIsShown replaces the certificate that a Gateway shows to endpoints.
func TestAnotherCertificateIsShown(t *testing.T) {
	content, err := os.ReadFile("testdata/gateway-client-certificate.txtar")
	if err != nil {
		t.Fatal(err)
	}
	s := readSnapshot(t, txtar.Parse(content).Files[0].Data)
	key := BackendKey{ServicePort: ServicePort{Service: nameOf(s.Services[0]), Port: 443}, Use: "/gateway default/shows"}
	var memo Memo
	before := Build(s, &memo)
	if got := Build(s, &memo).Backends[key]; got == nil || got != before.Backends[key] {
		t.Errorf("Backend %v, then %v, though nothing changed", before.Backends[key], got)
	}
	for i, secret := range s.Secrets {
		if secret.Name == "certificate" {
			s.Secrets[i] = secret.DeepCopy()
			s.Secrets[i].Data = nil
		}
	}
	if got := Build(s, &memo).Backends[key]; got != nil {
		t.Error("a certificate is shown that is no more")
	}
}
