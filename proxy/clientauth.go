package proxy

import (
	"crypto/tls"
	"crypto/x509"
)

// clientAuth is what a socket asks of its clients' certificates. It is immutable.
type clientAuth struct {
	kind        tls.ClientAuthType
	authorities *x509.CertPool
}

// equal reports whether both admit the same clients. Either may be nil, which asks for
// nothing.
func (a *clientAuth) equal(b *clientAuth) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.kind == b.kind && a.authorities.Equal(b.authorities)
}

// clientAuthOf is what l asks for; nil for nothing.
func clientAuthOf(l *Listener) *clientAuth {
	if l.GetCertificate == nil || l.ClientAuth == tls.NoClientCert {
		return nil
	}
	return &clientAuth{l.ClientAuth, l.ClientCAs}
}

// askClients returns the GetConfigForClient of base: base itself, but for what the socket
// asks of clients by then. Tickets need no care: crypto/tls resumes no session without a
// certificate where one is asked for, and none with one that would not do now.
func (s *socket) askClients(base *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	return func(*tls.ClientHelloInfo) (*tls.Config, error) {
		asked := s.clientAuth.Load()
		if asked == nil {
			return nil, nil
		}
		config := base.Clone()
		config.GetConfigForClient = nil
		config.ClientAuth, config.ClientCAs = asked.kind, asked.authorities
		return config, nil
	}
}
