package tls

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"net"
	"testing"
)

// A CA gets the certificate of its challenge on every socket, and a client never does.
func TestStoreAnswersChallenges(t *testing.T) {
	var store Store
	store.Apply(map[string][]Certificate{":443": {{"a.test", certificate(t, "a.test")}}})
	if err := store.ApplyChallenges([]Challenge{{"A.test", "token.thumbprint"}}); err != nil {
		t.Fatal(err)
	}
	for _, socket := range []string{":443", ":8443"} {
		state := askAs(t, &store, socket, challengeProtocol)
		if state.NegotiatedProtocol != challengeProtocol {
			t.Fatalf("%s: protocol %q", socket, state.NegotiatedProtocol)
		}
		leaf := state.PeerCertificates[0]
		if len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != "A.test" {
			t.Errorf("names %v", leaf.DNSNames)
		}
		digest := sha256.Sum256([]byte("token.thumbprint"))
		if got := acmeIdentifier(t, leaf); string(got) != string(digest[:]) {
			t.Errorf("digest %x", got)
		}
	}
	if name, err := handshake(t, &store, ":443", &tls.Config{ServerName: "a.test", NextProtos: []string{"h2", challengeProtocol}}); err != nil || name != "a.test" {
		t.Errorf("a client got %q, %v", name, err)
	}
	if err := store.ApplyChallenges(nil); err != nil {
		t.Fatal(err)
	}
	_, err := handshake(t, &store, ":443", &tls.Config{ServerName: "a.test", NextProtos: []string{challengeProtocol}})
	wantUnrecognizedName(t, err)
}

// askAs does a handshake as one who offers only this protocol.
func askAs(t *testing.T, store *Store, socket, protocol string) tls.ConnectionState {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	server := tls.Server(far, &tls.Config{GetCertificate: store.For(socket), NextProtos: []string{protocol}})
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Handshake() }()
	client := tls.Client(near, &tls.Config{ServerName: "a.test", NextProtos: []string{protocol}, InsecureSkipVerify: true})
	err := client.Handshake()
	near.Close()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState()
}

func acmeIdentifier(t *testing.T, leaf *x509.Certificate) []byte {
	t.Helper()
	for _, e := range leaf.Extensions {
		if e.Id.String() != "1.3.6.1.5.5.7.1.31" {
			continue
		}
		var digest []byte
		if rest, err := asn1.Unmarshal(e.Value, &digest); err != nil || len(rest) > 0 || !e.Critical {
			t.Fatalf("extension %+v: %v", e, err)
		}
		return digest
	}
	t.Fatal("no extension acmeIdentifier")
	return nil
}
