package tunnel

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/internal/edgewire"
	"github.com/lintel-dev/lintel/internal/latest"
)

// Handler serves what comes through a tunnel. Its methods are called by many goroutines.
type Handler interface {
	// ServeHTTP2 serves a connection on which the edge is the client of HTTP/2, and sends
	// requests and TCP streams as [edgewire] has it. It ends with the connection, or, after
	// ctx has ended, when what is under way has; the edge is told then. It closes conn only
	// if that is of no use any more. Streams of other kinds, which are meant for the
	// connector, it gives to call.
	ServeHTTP2(ctx context.Context, conn net.Conn, call func(kind string, stream io.ReadWriteCloser))
	// ServeRequest serves a request over QUIC, and returns when nothing of it is used any
	// more. It reports false if the edge must see that the response is not complete. It does
	// not close the stream, but for CloseWrite.
	ServeRequest(stream edgewire.Stream, request *edgewire.Request) (complete bool)
	// ServeStream serves a TCP stream to destination ("host:port") and closes conn, whose
	// RemoteAddr is the client's if it is known. The first Read or Write accepts the
	// stream; Close before that refuses it.
	ServeStream(conn net.Conn, destination string)
}

// Config is a tunnel that is wanted. It is comparable, and so is its Handler.
type Config struct {
	Credentials Credentials
	Protocol    Protocol // "" is HTTP2
	Handler     Handler
	// Edge is where this tunnel's edge is; nil is that of the Settings. What it points to
	// stays as it is.
	Edge *Edge
}

// Settings of a [Connector]. Zero values stand for what the fields say.
type Settings struct {
	Log     *slog.Logger // nil discards
	Edge    Edge
	Version string // told to the edge; "" is "dev"
	// Connections is how many each tunnel has, at most one for each address of the edge;
	// zero is 4.
	Connections int
	// GracePeriod is how long requests may go on after the tunnel was unregistered; zero
	// is 25 s.
	GracePeriod time.Duration
	// Retry bounds the pauses between attempts to connect: they double from First to
	// Max, and up to Refused while the edge calls its refusal permanent. Half of each is
	// random. Zero is 1 s, 1 min and 5 min.
	Retry Retry
	// Changed is called, and must not block, when a Status changes; nil is not.
	Changed func()
}

// Retry are pauses between attempts.
type Retry struct{ First, Max, Refused time.Duration }

func (s Settings) withDefaults() Settings {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.Version = cmp.Or(s.Version, "dev")
	s.Connections = cmp.Or(s.Connections, 4)
	s.GracePeriod = cmp.Or(s.GracePeriod, 25*time.Second)
	s.Retry.First = cmp.Or(s.Retry.First, time.Second)
	s.Retry.Max = cmp.Or(s.Retry.Max, time.Minute)
	s.Retry.Refused = cmp.Or(s.Retry.Refused, 5*time.Minute)
	if s.Changed == nil {
		s.Changed = func() {}
	}
	return s
}

// Connector keeps any number of tunnels connected. Its methods are safe for concurrent
// use.
type Connector struct {
	settings Settings
	want     *latest.Box[map[string]Config]

	mu      sync.Mutex // guards what follows
	tunnels map[string]*tunnel
	closing sync.WaitGroup // sessions that end
}

// tunnel is one that is wanted, by the sessions that serve it: the last is the one that is
// wanted, the others go as soon as it is connected.
type tunnel struct {
	sessions []*session
	totals   Totals // of sessions that are gone
}

// New returns a Connector without tunnels.
func New(s Settings) *Connector {
	return &Connector{settings: s.withDefaults(), want: latest.New[map[string]Config](), tunnels: map[string]*tunnel{}}
}

// Apply makes the tunnels what want says, under names of the caller's. One whose Config
// has changed is connected anew before the connections that it had are closed, which
// finish what is under way: so credentials can be exchanged while requests come in. It
// does not block; who calls it does not change want any more.
func (c *Connector) Apply(want map[string]Config) { c.want.Put(want) }

// Run keeps the tunnels connected until ctx ends; then it unregisters them, so that the
// edge sends no more, waits for what is under way for up to the GracePeriod, and returns
// nil. It may be called once.
func (c *Connector) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			c.reconcile(nil)
			c.closing.Wait()
			return nil
		case <-c.want.Full():
			c.reconcile(c.want.Take())
		}
	}
}

func (c *Connector) reconcile(want map[string]Config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, t := range c.tunnels {
		if _, wanted := want[name]; wanted {
			continue
		}
		for _, s := range t.sessions {
			s.stop()
		}
		delete(c.tunnels, name)
	}
	for name, config := range want {
		t := c.tunnels[name]
		if t == nil {
			t = &tunnel{}
			c.tunnels[name] = t
		}
		if last := len(t.sessions) - 1; last >= 0 && t.sessions[last].config == config {
			continue
		}
		if c.settings.Edge.Roots == nil { // a quarter of a megabyte, for those who have tunnels
			c.settings.Edge.Roots = EdgeRoots()
		}
		c.start(t, newSession(&c.settings, name, config))
	}
}

// start lets s take over a tunnel. The caller holds c.mu.
func (c *Connector) start(t *tunnel, s *session) {
	before := t.sessions
	t.sessions = append(t.sessions[:len(before):len(before)], s)
	c.closing.Go(func() {
		s.run()
		c.forget(t, s)
	})
	if len(before) == 0 {
		return
	}
	c.closing.Go(func() {
		select {
		case <-s.connected:
		case <-s.stopping.Done(): // by what comes after it, or for good
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, old := range t.sessions {
			if old == s {
				return
			}
			old.stop()
		}
	})
}

// forget takes a session that has ended off a tunnel.
func (c *Connector) forget(t *tunnel, s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, other := range t.sessions {
		if other == s {
			t.sessions = append(t.sessions[:i:i], t.sessions[i+1:]...)
			break
		}
	}
	totals := s.totalsNow()
	t.totals.Registered += totals.Registered
	t.totals.Refused += totals.Refused
	t.totals.Failed += totals.Failed
	t.totals.Lost += totals.Lost
}

// Status returns what became of each tunnel that is wanted.
func (c *Connector) Status() map[string]Status {
	c.mu.Lock()
	tunnels := maps.Clone(c.tunnels)
	all := make(map[string]Status, len(tunnels))
	sessions := make(map[string][]*session, len(tunnels))
	for name, t := range tunnels {
		all[name] = Status{Totals: t.totals}
		sessions[name] = append([]*session(nil), t.sessions...)
	}
	c.mu.Unlock()
	for name, list := range sessions {
		status := all[name]
		for i, s := range list {
			s.report(&status, i == len(list)-1)
		}
		all[name] = status
	}
	return all
}
