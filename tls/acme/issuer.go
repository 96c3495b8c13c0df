package acme

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Issuer is an account at a CA, and the way in which names are proved to it.
// It is read-only once given to [New].
type Issuer struct {
	// Name is how certificates refer to it.
	Name string
	// Directory is the URL of the CA's directory, https (RFC 8555 §7.1.1).
	Directory string
	// Email is the account's contact; "" for none.
	Email string
	// ExternalAccount binds the account to one that exists at the CA (RFC 8555
	// §7.3.4); nil if the CA asks for none.
	ExternalAccount *ExternalAccount
	// PreferredChain is the common name of an issuer in the chain to choose among
	// those that the CA offers; "", or one that no chain has, takes the CA's default.
	PreferredChain string
	// Profile is one of those in the CA's directory; "" for its default.
	Profile string
	// Roots returns PEM certificates that the CA's server is trusted by, for a test or
	// private CA; nil means the system's. It is called anew for each order, by several
	// goroutines.
	Roots func() (string, error)
	// Durations tells that the CA takes a wanted end of validity (notAfter, RFC 8555
	// §7.4). Let's Encrypt does not: it refuses such orders.
	Durations bool
	// Solver proves names: DNS01, HTTP01 or TLSALPN01.
	Solver Solver
}

// ExternalAccount is a key that a CA gave out beside ACME. Key returns it as the CA
// shows it, base64url without padding; it is called for each new account, by several
// goroutines.
type ExternalAccount struct {
	ID  string
	Key func() (string, error)
}

// Solver is DNS01, HTTP01 or TLSALPN01.
type Solver interface{ challengeType() string }

// DNS01 proves names by a TXT record at _acme-challenge.NAME (RFC 8555 §8.4), the
// only way to get a wildcard. Where that name is an alias (CNAME), the record is
// made where it leads to.
type DNS01 struct {
	// Provider makes the records: Cloudflare or RFC2136.
	Provider Provider
	// Resolvers are asked for zones and their servers, each host:port or host. Empty
	// means public ones, since a resolver of the local network may see other records
	// than the CA. One that answers with authority is also what propagation is
	// checked with.
	Resolvers []string
	// PropagationTimeout is how long to wait until every server of the zone answers
	// with the record; 0 means 2 minutes. An order that waited in vain is kept and
	// taken up again later. Where no server of the zone can be reached from here, the CA
	// is told to look after half a minute.
	PropagationTimeout time.Duration
}

// HTTP01 proves names by an answer on port 80 (RFC 8555 §8.3).
type HTTP01 struct{}

// TLSALPN01 proves names by a certificate in a TLS handshake on port 443 (RFC 8737).
type TLSALPN01 struct{}

func (DNS01) challengeType() string     { return ChallengeDNS01 }
func (HTTP01) challengeType() string    { return ChallengeHTTP01 }
func (TLSALPN01) challengeType() string { return ChallengeTLSALPN01 }

// Provider makes DNS records: Cloudflare or RFC2136. The functions that return
// secrets are called anew for each order, by several goroutines, so that a new
// secret is seen; a new one also ends the wait after a failure.
type Provider interface {
	secret() (string, error)
	// place says where records are made, and by whom.
	place() []string
}

// Cloudflare makes records by Cloudflare's API.
type Cloudflare struct {
	// Token returns an API token that may read zones and edit their DNS.
	Token func() (string, error)
	// HTTPClient speaks to the API; nil means one with a timeout of 30 s.
	HTTPClient *http.Client
}

// RFC2136 makes records by dynamic update, signed with TSIG (RFC 8945).
type RFC2136 struct {
	// Server is the primary of the zone, host:port or host; it is spoken to over TCP.
	Server string
	// KeyName and KeyAlgorithm name the key as the server does; "" for the
	// algorithm means "hmac-sha256".
	KeyName, KeyAlgorithm string
	// Key returns the key in base64.
	Key func() (string, error)
}

func (p Cloudflare) secret() (string, error) { return p.Token() }
func (p RFC2136) secret() (string, error)    { return p.Key() }

func (p Cloudflare) place() []string { return []string{"cloudflare"} }
func (p RFC2136) place() []string    { return []string{"rfc2136", p.Server, p.KeyName, p.KeyAlgorithm} }

// issuer is an Issuer with what its use needs.
type issuer struct {
	Issuer

	mu        sync.Mutex // guards what is below
	transport *http.Transport
	trusted   string // roots that transport trusts; "" for the system's
}

func newIssuer(settings Issuer) (*issuer, error) {
	if err := settings.check(); err != nil {
		return nil, fmt.Errorf("issuer %q: %w", settings.Name, err)
	}
	return &issuer{Issuer: settings}, nil
}

// reach returns a transport to the CA that trusts the roots as they are now.
func (i *issuer) reach() (http.RoundTripper, error) {
	roots, err := i.roots()
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.transport != nil {
		if i.trusted == roots {
			return i.transport, nil
		}
		i.transport.CloseIdleConnections()
	}
	i.transport, i.trusted = caTransport(roots), roots
	return i.transport, nil
}

// roots returns what Roots does, or "" for the system's.
func (i *issuer) roots() (string, error) {
	if i.Roots == nil {
		return "", nil
	}
	roots, err := i.Roots()
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM([]byte(roots)) {
		err = errors.New("there is no PEM certificate in what was read")
	}
	if err != nil {
		return "", fmt.Errorf("read certificates that the CA's server is trusted by: %w", err)
	}
	return roots, nil
}

// trust stands for the roots.
func (i *issuer) trust() string {
	roots, err := i.roots()
	if err != nil {
		return err.Error()
	}
	return roots
}

func (i Issuer) check() error {
	directory, err := url.Parse(i.Directory)
	if err != nil || directory.Scheme != "https" || directory.Host == "" {
		return fmt.Errorf("directory %q is not an https URL", i.Directory)
	}
	if e := i.ExternalAccount; e != nil && (e.ID == "" || e.Key == nil) {
		return errors.New("an external account needs an ID and a key")
	}
	dns, ok := i.Solver.(DNS01)
	if !ok {
		if i.Solver == nil {
			return errors.New("it needs a solver: DNS01, HTTP01 or TLSALPN01")
		}
		return nil
	}
	switch p := dns.Provider.(type) {
	case Cloudflare:
		if p.Token == nil {
			return errors.New("Cloudflare needs an API token")
		}
	case RFC2136:
		if p.Server == "" || p.KeyName == "" || p.Key == nil {
			return errors.New("RFC 2136 needs a server, and the name and secret of a TSIG key")
		}
	default:
		return errors.New("DNS-01 needs a provider: Cloudflare or RFC2136")
	}
	return nil
}

// asks returns the lifetime to ask the CA for; 0 if none.
func (i *issuer) asks(want Certificate) time.Duration {
	if !i.Durations {
		return 0
	}
	return want.Duration
}

// proof stands for how names are proved, with the secret.
func (i *issuer) proof() string {
	dns, ok := i.Solver.(DNS01)
	if !ok {
		return i.Solver.challengeType()
	}
	secret, err := dns.Provider.secret()
	if err != nil {
		secret = err.Error()
	}
	return fingerprint(dns.Provider.place(), dns.Resolvers, dns.PropagationTimeout, secret)
}

func (i *issuer) newSolver(storage Storage, tell func(string)) (solver, error) {
	if dns, ok := i.Solver.(DNS01); ok {
		return newDNSSolver(dns, tell)
	}
	return &answerSolver{storage: storage}, nil
}
