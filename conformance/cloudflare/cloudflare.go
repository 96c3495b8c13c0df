// Package cloudflare is a FAKE of the parts of Cloudflare that Lintel uses: version 4
// of its API, for zones, DNS records and tunnels, and name servers that answer from
// the same records. It is made from Cloudflare's public documentation and from what
// its clients expect; it is not Cloudflare, and nothing leaves this machine.
//
//	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
//	// cf.HTTPClient() reaches the fake under the API's real address, cf.URL is its own;
//	// cf.DNS is the name server, over UDP and TCP.
//
// It keeps the API's rules (which records may stand beside each other, what may be
// proxied, quotas and limits), counts calls, and can be made to fail (Intercept).
package cloudflare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options says what there is at the start. The zero value has no zones.
type Options struct {
	Zones []string
	// Plan decides limits; zero is Free.
	Plan Plan
	// RecordLimit is how many records a zone may have; zero is any number. Free zones
	// have had 200 since September 2024.
	RecordLimit int
	// RequestLimit is how many requests a token has in five minutes; zero is the real
	// 1,200, and negative is any number.
	RequestLimit int
	// Now is the clock of the request limit; nil is time.Now.
	Now func() time.Time
}

// Plan is what an account pays for.
type Plan int

// Plans.
const (
	Free Plan = iota
	Paid
)

// Token is an API token with every permission.
const Token = "fake-token-with-every-permission-0000000"

// AccountID is the one account's.
const AccountID = "0000000000000000000000000000acc0"

// Grant is what a token may do.
type Grant struct {
	Zones   []string // names; nil is all
	Write   bool     // change records
	Tunnels bool     // see and change tunnels
}

// Server is the running fake. All methods are safe for concurrent use.
type Server struct {
	// URL is the base of the API, http://127.0.0.1:PORT/client/v4.
	URL string
	// DNS is the address of the name server, 127.0.0.1:PORT, UDP and TCP.
	DNS string

	options Options
	handler http.Handler
	server  *http.Server
	names   *nameServer
	ended   chan struct{}

	mu           sync.Mutex
	zones        []*zone
	tunnels      []*tunnel
	tokens       map[string]Grant
	windows      map[string]*window // by token
	calls        map[string]int     // by pattern
	interceptors map[string]Interceptor
	lagging      bool // the name server knows no TXT records
	lastID       int
}

// ForTest starts a fake that stops when the test ends.
func ForTest(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Start starts a fake, which the caller ends with Stop. ctx bounds the start alone.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.RequestLimit == 0 {
		o.RequestLimit = 1200
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		options: o, ended: make(chan struct{}),
		tokens: map[string]Grant{Token: {Write: true, Tunnels: true}}, windows: map[string]*window{},
		calls: map[string]int{}, interceptors: map[string]Interceptor{},
	}
	for _, name := range o.Zones {
		s.AddZone(name)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start fake of Cloudflare: %w", err)
	}
	if s.names, err = startNameServer(ctx, s); err != nil {
		return nil, errors.Join(fmt.Errorf("start fake of Cloudflare: %w", err), listener.Close())
	}
	s.DNS = s.names.address
	s.URL = "http://" + listener.Addr().String() + base
	s.handler = s.routes()
	s.server = &http.Server{Handler: s.handler, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(s.ended)
		_ = s.server.Serve(listener) // until Stop
	}()
	return s, nil
}

// Stop ends the fake.
func (s *Server) Stop() error {
	_ = s.server.Close() // nobody is served anymore
	<-s.ended
	return s.names.stop()
}

// HTTPClient returns a client that reaches the fake for whatever address it is given,
// so that a library which knows only https://api.cloudflare.com can use it.
func (s *Server) HTTPClient() *http.Client {
	return &http.Client{Transport: redirect{to: strings.TrimSuffix(strings.TrimPrefix(s.URL, "http://"), base)}}
}

type redirect struct{ to string } // host:port

// RoundTrip implements http.RoundTripper.
func (r redirect) RoundTrip(request *http.Request) (*http.Response, error) {
	out := request.Clone(request.Context())
	out.URL.Scheme, out.URL.Host, out.Host = "http", r.to, ""
	return http.DefaultTransport.RoundTrip(out)
}

// AddZone adds a zone that has no records.
func (s *Server) AddZone(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones = append(s.zones, &zone{id: s.newID(), name: canonical(name), records: map[string]Record{}})
}

// ZoneID returns the ID of a zone, and "" where there is none.
func (s *Server) ZoneID(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if z := s.zoneByName(name); z != nil {
		return z.id
	}
	return ""
}

// RemoveZone removes a zone with its records.
func (s *Server) RemoveZone(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones = slices.DeleteFunc(s.zones, func(z *zone) bool { return z.name == canonical(name) })
}

// SetToken makes a token valid, or changes what it may do.
func (s *Server) SetToken(token string, g Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = g
}

// RevokeToken makes a token invalid.
func (s *Server) RevokeToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, token)
}

// Records returns the records of a zone, sorted by name, type and content.
func (s *Server) Records(zoneName string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.zoneByName(zoneName)
	if z == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(z.records), compareRecords)
}

// Put creates a record as somebody else would, past tokens, limits and counts.
func (s *Server) Put(zoneName string, r Record) (Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.zoneByName(zoneName)
	if z == nil {
		return Record{}, fmt.Errorf("put record: no zone %s", zoneName)
	}
	created, failure := z.create(s, r)
	if failure != nil {
		return Record{}, fmt.Errorf("put record: %d %s", failure.Code, failure.Message)
	}
	return created, nil
}

// Remove deletes every record of a name and type as somebody else would.
func (s *Server) Remove(zoneName, name, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if z := s.zoneByName(zoneName); z != nil {
		maps.DeleteFunc(z.records, func(_ string, r Record) bool { return r.Name == canonical(name) && r.Type == kind })
	}
}

// Lag makes the name server answer as if no TXT record had been made, as when an edge is
// late. The function that it returns ends that.
func (s *Server) Lag() (catchUp func()) {
	set := func(lagging bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lagging = lagging
	}
	set(true)
	return func() { set(false) }
}

// Calls returns how often each endpoint was called, by its pattern, like
// "GET /zones" or "POST /zones/{zone}/dns_records/batch". Calls that were refused
// count too.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// ResetCalls forgets what Calls counted.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
}

func (s *Server) zoneByName(name string) *zone {
	name = canonical(name)
	for _, z := range s.zones {
		if z.name == name {
			return z
		}
	}
	return nil
}

// newID returns what no object was called before.
func (s *Server) newID() string {
	s.lastID++
	return fmt.Sprintf("%032x", s.lastID)
}

// canonical is a name in lower case without a dot at its end.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
