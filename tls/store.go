package tls

import (
	"crypto/tls"
	"strings"
	"sync/atomic"
)

// Certificate is served for a server name: "" for any name and for none,
// "example.com", or "*.example.com" for one or more labels before the suffix.
// ServerName is in lower case. Certificate includes the private key and is
// read-only.
type Certificate struct {
	ServerName  string
	Certificate *tls.Certificate
}

// Store holds the certificates of every socket. The zero Store is empty and
// ready. Its methods are safe for concurrent use.
type Store struct {
	sockets    atomic.Pointer[map[string]*names]
	challenges atomic.Pointer[map[string]*tls.Certificate] // by name
}

// names are the certificates of one socket, each list in order of preference.
type names struct {
	exact    map[string][]*tls.Certificate
	wildcard map[string][]*tls.Certificate // by suffix, ".example.com" for "*.example.com"
	fallback []*tls.Certificate
}

// Apply replaces the certificates of all sockets, by socket name. Of several with
// the same ServerName the first that suits a client is served to it. Handshakes
// under way finish with what they got. Apply keeps no slice or map of its input.
func (s *Store) Apply(certificates map[string][]Certificate) {
	sockets := make(map[string]*names, len(certificates))
	for socket, list := range certificates {
		sockets[socket] = newNames(list)
	}
	s.sockets.Store(&sockets)
}

func newNames(list []Certificate) *names {
	n := &names{
		exact:    make(map[string][]*tls.Certificate),
		wildcard: make(map[string][]*tls.Certificate),
	}
	for _, c := range list {
		served := signing(c.Certificate)
		if suffix, ok := strings.CutPrefix(c.ServerName, "*"); ok {
			n.wildcard[suffix] = append(n.wildcard[suffix], served)
		} else if c.ServerName != "" {
			n.exact[c.ServerName] = append(n.exact[c.ServerName], served)
		} else {
			n.fallback = append(n.fallback, served)
		}
	}
	return n
}

// For returns what [tls.Config.GetCertificate] of a socket needs. It answers from
// the newest Apply at the time of each handshake. When nothing fits it returns no
// certificate and no error, and crypto/tls sends the alert unrecognized_name.
func (s *Store) For(socket string) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if isChallenge(hello) {
			return s.answer(hello), nil
		}
		sockets := s.sockets.Load()
		if sockets == nil {
			return nil, nil
		}
		n := (*sockets)[socket]
		if n == nil {
			return nil, nil
		}
		return n.find(hello), nil
	}
}

// find takes the most specific name that has a certificate which the client can
// use: the whole name, then wildcards from the longest suffix on, then any.
func (n *names) find(hello *tls.ClientHelloInfo) *tls.Certificate {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name != "" {
		if c := choose(n.exact[name], hello); c != nil {
			return c
		}
		for suffix := parent(name); suffix != ""; suffix = parent(suffix[1:]) {
			if c := choose(n.wildcard[suffix], hello); c != nil {
				return c
			}
		}
	}
	return choose(n.fallback, hello)
}

// parent removes the first label and keeps the dot: "a.b.c" → ".b.c", "c" → "".
func parent(name string) string {
	if dot := strings.IndexByte(name, '.'); dot >= 0 {
		return name[dot:]
	}
	return ""
}

// choose returns the first certificate that suits the client in every way, or else
// the first whose names alone don't: a client says "certificate for another name"
// more clearly than any alert, and one that does not verify goes on working.
func choose(list []*tls.Certificate, hello *tls.ClientHelloInfo) *tls.Certificate {
	for _, c := range list {
		if hello.SupportsCertificate(c) == nil {
			return c
		}
	}
	if len(list) == 0 {
		return nil
	}
	anyName := *hello
	anyName.ServerName = ""
	for _, c := range list {
		if anyName.SupportsCertificate(c) == nil {
			return c
		}
	}
	return nil
}
