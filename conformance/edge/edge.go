// Package edge is a FAKE of Cloudflare's edge as connectors of tunnels see it: servers on
// addresses of the loopback network, to which connectors connect over HTTP/2 or QUIC,
// register, and get requests. It speaks the real protocol, with cloudflared's own package
// for the calls, and it is made from what cloudflared expects; it is not Cloudflare, and
// nothing leaves this machine.
//
//	e := edge.ForTest(t, edge.Options{})
//	token := e.Allow(uuid.New())
//	// a connector dials e.Addresses() and trusts e.Roots
//	e.Wait(ctx, tunnel, 4)
//	client := &http.Client{Transport: e.RoundTripper(tunnel)}
//
// RoundTripper sends what an end user would have sent, with the fields that Cloudflare
// adds. Faults are methods: Stop, Freeze, BlockQUIC, GoAway, Refuse, Revoke, Interject.
package edge

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	"github.com/google/uuid"

	"github.com/lintel-dev/lintel/conformance/process"
)

// Account is the account that all tunnels belong to.
const Account = "0000000000000000000000000000acc0"

// Options says what there is at the start.
type Options struct {
	// Servers is how many addresses the edge has; zero is 4.
	Servers int
	// RemotelyManaged tells connectors that their configuration is made elsewhere, and
	// comes by Configure.
	RemotelyManaged bool
}

// Edge is the running fake. Its methods are safe for concurrent use.
type Edge struct {
	// Roots are what connectors have to trust.
	Roots *x509.CertPool
	// RootsPEM are the same as PEM.
	RootsPEM []byte

	options   Options
	authority *authority
	servers   []*server

	mu            sync.Mutex // guards what follows
	changed       chan struct{}
	secrets       map[uuid.UUID]string
	refuse        func(Registration) error
	interjection  []byte
	connections   []*connection
	registrations []Registration
	local         [][]byte // configurations that connectors have told
	next          int
}

// Registration is what a connector has said to register a connection.
type Registration struct {
	Tunnel    uuid.UUID
	Connector uuid.UUID
	Index     int
	Server    int // that it came to
	Protocol  string
	Version   string
	Features  []string
}

// Connection is a registered connection.
type Connection struct {
	Registration
	ID uuid.UUID
}

// ForTest starts an edge that stops when the test ends.
func ForTest(t testing.TB, o Options) *Edge {
	t.Helper()
	e, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// Start starts an edge, which the caller ends with Close.
func Start(o Options) (*Edge, error) {
	if o.Servers == 0 {
		o.Servers = 4
	}
	a, err := newAuthority()
	if err != nil {
		return nil, fmt.Errorf("start edge: %w", err)
	}
	e := &Edge{Roots: a.roots, RootsPEM: a.rootPEM, options: o, authority: a, changed: make(chan struct{}), secrets: map[uuid.UUID]string{}}
	if err := e.open(); err != nil {
		return nil, fmt.Errorf("start edge: %w", err)
	}
	return e, nil
}

// open opens all servers, on one port of different addresses. It is none that a client may get while
// a server is stopped.
func (e *Edge) open() error {
	var err error
	for range 20 {
		var ports []uint16
		if ports, err = process.FreePorts(context.Background(), 1); err != nil {
			return err
		}
		for i := range e.options.Servers {
			address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 1, byte(10 + i)}), ports[0])
			s := &server{edge: e, index: i, address: address}
			if err = s.open(); err != nil {
				break
			}
			e.servers = append(e.servers, s)
		}
		if err == nil {
			return nil
		}
		for _, s := range e.servers {
			s.close()
		}
		e.servers = nil
	}
	return err
}

// Close ends all servers and connections.
func (e *Edge) Close() {
	for _, s := range e.servers {
		s.close()
	}
	for _, c := range e.live(uuid.Nil) {
		c.close()
	}
	for _, s := range e.servers {
		s.serving.Wait()
	}
}

// Addresses are where connectors connect to, over TCP and UDP.
func (e *Edge) Addresses() []netip.AddrPort {
	all := make([]netip.AddrPort, len(e.servers))
	for i, s := range e.servers {
		all[i] = s.address
	}
	return all
}

// Allow makes a tunnel known, and returns a token with a new secret for it: tokens before
// are not valid any more.
func (e *Edge) Allow(tunnel uuid.UUID) (token string) {
	secret := uuid.NewString() + uuid.NewString()
	e.AllowSecret(tunnel, secret)
	text, err := json.Marshal(map[string]any{"a": Account, "t": tunnel, "s": []byte(secret)})
	if err != nil {
		panic(err) // maps of strings can be written
	}
	return base64.StdEncoding.EncodeToString(text)
}

// AllowSecret makes a tunnel known, with the secret of another edge.
func (e *Edge) AllowSecret(tunnel uuid.UUID, secret string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secrets[tunnel] = secret
}

// Revoke makes a tunnel unknown, and ends its connections.
func (e *Edge) Revoke(tunnel uuid.UUID) {
	e.mu.Lock()
	delete(e.secrets, tunnel)
	e.mu.Unlock()
	for _, c := range e.live(tunnel) {
		c.close()
	}
}

// Refuse lets decide judge each registration from now on, beside the secret: an error is
// what the connector is told. nil accepts all. [Later] makes errors that pass.
func (e *Edge) Refuse(decide func(Registration) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refuse = decide
}

// Interject sends bytes of no call on control streams: on those that are open now, and at the
// start of each that is opened later, until it is called with none.
func (e *Edge) Interject(message []byte) {
	e.mu.Lock()
	e.interjection = message
	open := slices.Clone(e.connections)
	e.mu.Unlock()
	for _, c := range open {
		_, _ = c.control.Write(message) // the connector may be gone
	}
}

// interjected returns what control streams start with.
func (e *Edge) interjected() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.interjection
}

// Later is an error that tells a connector to try again after a while.
func Later(reason string, after time.Duration) error {
	return pogs.RetryErrorAfter(errors.New(reason), after)
}

// judge decides about a registration.
func (e *Edge) judge(r Registration, auth pogs.TunnelAuth) error {
	e.mu.Lock()
	decide := e.refuse
	secret, known := e.secrets[r.Tunnel]
	e.registrations = append(e.registrations, r)
	duplicate := slices.ContainsFunc(e.connections, func(c *connection) bool {
		return c.Connector == r.Connector && c.Server == r.Server && !c.leaving
	})
	e.notify()
	e.mu.Unlock()
	switch {
	case !known || auth.AccountTag != Account || string(auth.TunnelSecret) != secret:
		return errors.New("Unauthorized: Invalid tunnel secret") //nolint:staticcheck // as the edge says it
	case duplicate:
		return errors.New("EDUPCONN")
	case decide != nil:
		return decide(r)
	}
	return nil
}

// Registrations returns all attempts to register, accepted or not.
func (e *Edge) Registrations() []Registration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.registrations)
}

// LocalConfigurations returns what connectors have told of their configuration.
func (e *Edge) LocalConfigurations() [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.local)
}

// Connections returns the connections that get requests of a tunnel.
func (e *Edge) Connections(tunnel uuid.UUID) []Connection {
	var all []Connection
	for _, c := range e.live(tunnel) {
		all = append(all, c.Connection)
	}
	return all
}

// Wait waits until a tunnel has n connections.
func (e *Edge) Wait(ctx context.Context, tunnel uuid.UUID, n int) error {
	return e.Until(ctx, func() bool { return len(e.Connections(tunnel)) == n })
}

// Until waits until something holds that has to do with registrations and connections.
func (e *Edge) Until(ctx context.Context, holds func() bool) error {
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		if holds() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for the edge: %w", ctx.Err())
		}
	}
}

// notify wakes who waits. The caller holds e.mu.
func (e *Edge) notify() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// live are the connections of a tunnel that get requests; of all tunnels for Nil, those
// that leave included.
func (e *Edge) live(tunnel uuid.UUID) []*connection {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*connection
	for _, c := range e.connections {
		if tunnel == uuid.Nil || c.Tunnel == tunnel && !c.leaving {
			all = append(all, c)
		}
	}
	return all
}

// pick returns the next connection for a request of a tunnel that was not tried.
func (e *Edge) pick(tunnel uuid.UUID, tried []*connection) *connection {
	all := slices.DeleteFunc(e.live(tunnel), func(c *connection) bool { return slices.Contains(tried, c) })
	if len(all) == 0 {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	return all[e.next%len(all)]
}

// add notes a connection that is registered.
func (e *Edge) add(c *connection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.connections = append(e.connections, c)
	e.notify()
}

// leave notes that a connection gets no more requests.
func (e *Edge) leave(c *connection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.leaving = true
	e.notify()
}

// remove notes that a connection has ended.
func (e *Edge) remove(c *connection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.leaving = true
	e.connections = slices.DeleteFunc(e.connections, func(o *connection) bool { return o == c })
	e.notify()
}
