package router

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Protocol is what is spoken to the endpoints of a Backend.
type Protocol uint8

const (
	// HTTP1 is HTTP/1.1 in the clear.
	HTTP1 Protocol = iota
	// H2C is HTTP/2 in the clear, with prior knowledge (RFC 9113 §3.3).
	H2C
	// HTTPS is TLS, and in it HTTP/2 or HTTP/1.1, as ALPN decides (RFC 7301). An
	// endpoint that chooses nothing speaks HTTP/1.1.
	HTTPS
)

// String returns "http/1.1", "h2c" or "https".
func (p Protocol) String() string {
	switch p {
	case H2C:
		return "h2c"
	case HTTPS:
		return "https"
	default:
		return "http/1.1"
	}
}

// ProxyProtocol is the version of the PROXY protocol header with which connections to
// endpoints begin.
type ProxyProtocol uint8

// The versions.
const (
	NoProxyProtocol ProxyProtocol = iota
	ProxyProtocolV1
	ProxyProtocolV2
)

// BackendTLS is how endpoints are recognised over TLS, as BackendTLSPolicy has it
// (GEP-1897), and how we are recognised by them (GEP-3155). It is immutable once a Backend has it.
type BackendTLS struct {
	// ServerName is sent to the endpoint (RFC 6066 §3); it cannot be empty. The
	// certificate must be valid for it, unless DNSNames or URIs name something else.
	ServerName string
	// DNSNames and URIs, if any, are what the certificate must be valid for instead:
	// one of all of them is enough.
	DNSNames []string
	URIs     []string
	// Roots are the authorities that are trusted; nil stands for the system's.
	Roots *x509.CertPool
	// ALPN are the protocols to offer, the first preferred; nil stands for "h2" and
	// "http/1.1", and an empty list offers none.
	ALPN []string
	// Certificate is shown to endpoints that ask for one; nil is none.
	Certificate *tls.Certificate
}

var (
	errNoCertificate = errors.New("the endpoint sent no certificate")
	errNoAltName     = errors.New("the certificate is valid for none of the wanted names")
)

// Verify checks the certificates that an endpoint sent, its own first, at the time
// now. It is meant for a handshake that checks nothing by itself.
func (t *BackendTLS) Verify(sent []*x509.Certificate, now time.Time) error {
	if len(sent) == 0 {
		return errNoCertificate
	}
	options := x509.VerifyOptions{Roots: t.Roots, Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, c := range sent[1:] {
		options.Intermediates.AddCert(c)
	}
	named := len(t.DNSNames)+len(t.URIs) > 0
	if !named {
		options.DNSName = t.ServerName
	}
	if _, err := sent[0].Verify(options); err != nil {
		return fmt.Errorf("verify certificate: %w", err)
	}
	if named && !t.namedBy(sent[0]) {
		return errNoAltName
	}
	return nil
}

// namedBy reports whether c is valid for one of DNSNames or URIs.
func (t *BackendTLS) namedBy(c *x509.Certificate) bool {
	for _, name := range t.DNSNames {
		if c.VerifyHostname(name) == nil {
			return true
		}
	}
	for _, uri := range c.URIs {
		if slices.Contains(t.URIs, uri.String()) {
			return true
		}
	}
	return false
}

// Equal reports whether t and o recognise the same endpoints in the same way. Both
// may be nil.
func (t *BackendTLS) Equal(o *BackendTLS) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.ServerName == o.ServerName &&
		slices.Equal(t.DNSNames, o.DNSNames) &&
		slices.Equal(t.URIs, o.URIs) &&
		t.Roots.Equal(o.Roots) &&
		slices.Equal(t.ALPN, o.ALPN) && (t.ALPN == nil) == (o.ALPN == nil) &&
		sameCertificate(t.Certificate, o.Certificate)
}

// sameCertificate reports whether two certificates show the same to a peer. Either may be nil.
func sameCertificate(x, y *tls.Certificate) bool {
	if x == nil || y == nil {
		return x == y
	}
	return slices.EqualFunc(x.Certificate, y.Certificate, bytes.Equal)
}
