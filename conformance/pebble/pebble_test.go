package pebble

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newClient is an ACME client that is not the one Lintel uses.
func newClient(t *testing.T, ca *Server) *acme.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Roots)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &acme.Client{
		Key: newKey(t), DirectoryURL: ca.Directory, HTTPClient: &http.Client{Transport: transport},
		RetryBackoff: func(n int, _ *http.Request, r *http.Response) time.Duration {
			if r != nil && (r.StatusCode == http.StatusTooManyRequests || r.StatusCode >= 500) || n > 20 {
				return -1
			}
			return time.Millisecond // a rejected nonce
		},
	}
}

// certify gets a certificate for 127.0.0.1, which needs no DNS, by HTTP-01.
func certify(t *testing.T, client *acme.Client, answers *http.ServeMux) *x509.Certificate {
	t.Helper()
	order, err := client.AuthorizeOrder(t.Context(), acme.IPIDs("127.0.0.1"))
	if err != nil {
		t.Fatal("order:", err)
	}
	for _, url := range order.AuthzURLs {
		authorization, err := client.GetAuthorization(t.Context(), url)
		if err != nil {
			t.Fatal("authorization:", err)
		}
		i := slices.IndexFunc(authorization.Challenges, func(c *acme.Challenge) bool { return c.Type == "http-01" })
		challenge := authorization.Challenges[i]
		answer, err := client.HTTP01ChallengeResponse(challenge.Token)
		if err != nil {
			t.Fatal(err)
		}
		answers.HandleFunc(client.HTTP01ChallengePath(challenge.Token), func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(answer))
		})
		if _, err := client.Accept(t.Context(), challenge); err != nil {
			t.Fatal("challenge:", err)
		}
		if _, err := client.WaitAuthorization(t.Context(), url); err != nil {
			t.Fatal("wait for authorization:", err)
		}
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	// The client cannot wait for an order that is still being processed: Pebble's answer
	// has no Location, and needs none (RFC 8555 section 7.4).
	_, _, finalizeErr := client.CreateOrderCert(t.Context(), order.FinalizeURL, request, true)
	if order, err = client.WaitOrder(t.Context(), order.URI); err != nil {
		t.Fatal("finalize:", errors.Join(finalizeErr, err))
	}
	chain, err := client.FetchCert(t.Context(), order.CertURL, true)
	if err != nil {
		t.Fatal("fetch:", err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestACertificateIsOrderedValidatedAndCounted(t *testing.T) {
	answers := http.NewServeMux()
	site := httptest.NewServer(answers)
	defer site.Close()
	ca := ForTest(t, Options{
		HTTPPort: site.Listener.Addr().(*net.TCPAddr).Port, BadNonces: 30, AlternateChains: 1,
		Profiles: map[string]time.Duration{"brief": 5 * time.Minute},
	})
	client := newClient(t, ca)
	if _, err := client.Register(t.Context(), &acme.Account{}, acme.AcceptTOS); err != nil {
		t.Fatal("register:", err)
	}
	leaf := certify(t, client, answers)
	if lifetime := leaf.NotAfter.Sub(leaf.NotBefore).Round(time.Minute); lifetime != 5*time.Minute {
		t.Errorf("the certificate is for %s, not the profile's 5 minutes", lifetime)
	}
	issuers, err := ca.Issuers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(issuers), "BEGIN CERTIFICATE"); n != 2 {
		t.Errorf("%d roots, want the first and one alternate", n)
	}
	orders := ca.Orders()
	if len(orders) != 1 || !slices.Equal(orders[0].Names, []string{"127.0.0.1"}) || orders[0].URL == "" {
		t.Errorf("orders: %+v", orders)
	}
	if ca.Calls(Finalize) == 0 || ca.Calls(Certificate) == 0 {
		t.Error("steps were not counted")
	}
}

func TestAnInterceptorPlaysACAInTrouble(t *testing.T) {
	ca := ForTest(t, Options{BadNonces: -1})
	client := newClient(t, ca)
	if _, err := client.Register(t.Context(), &acme.Account{}, acme.AcceptTOS); err != nil {
		t.Fatal("register:", err)
	}
	ca.Intercept(NewOrder, Refuse(http.StatusTooManyRequests, "rateLimited", 7*time.Second))
	_, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs("example.test"))
	wait, limited := acme.RateLimit(err)
	if !limited || wait != 7*time.Second {
		t.Errorf("got %v (wait %s), want a rate limit of 7 s", err, wait)
	}
	if len(ca.Orders()) != 0 || ca.Calls(NewOrder) != 1 {
		t.Errorf("%d orders, %d calls; want 0 and 1", len(ca.Orders()), ca.Calls(NewOrder))
	}
	ca.Intercept(NewOrder, nil)
	if _, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs("example.test")); err != nil {
		t.Error("after the trouble:", err)
	}
}

func TestAnAccountNeedsItsBindingWhenThereAreKeys(t *testing.T) {
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	ca := ForTest(t, Options{ExternalAccounts: map[string]string{"kid-1": key}})
	client := newClient(t, ca)
	var refused *acme.Error
	if _, err := client.Register(t.Context(), &acme.Account{}, acme.AcceptTOS); !errors.As(err, &refused) ||
		refused.ProblemType != "urn:ietf:params:acme:error:externalAccountRequired" {
		t.Errorf("without a binding: %v", err)
	}
	mac, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	binding := &acme.ExternalAccountBinding{KID: "kid-1", Key: mac}
	if _, err := client.Register(t.Context(), &acme.Account{ExternalAccountBinding: binding}, acme.AcceptTOS); err != nil {
		t.Error("with its binding:", err)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	ca, err := Start(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Stop(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ca.process.Done():
	default:
		t.Error("the process is still there")
	}
	if connection, err := net.Dial("tcp", ca.front.address); err == nil {
		connection.Close()
		t.Error("somebody still listens")
	}
}
