package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/loop"
	"github.com/lintel-dev/lintel/router"
)

type (
	// Settings of a [Server].
	Settings = exchange.Settings
	// Report tells of one exchange.
	Report = exchange.Report
	// Stats are gauges of a [Server].
	Stats = exchange.Stats
)

// ErrStopped is the reason of every socket that is applied after Run's context
// ended.
var ErrStopped = errors.New("server is stopping")

// Listener is one wanted listening socket.
type Listener struct {
	// Name is both the address (":8080", "192.0.2.1:80") and the socket's name in
	// the Table. For UDP "/udp" follows the address.
	Name string
	// Protocol is what is spoken. HTTP and TLS are told apart by GetCertificate alone.
	Protocol router.SocketProtocol
	// FreeBind opens the socket even while the machine does not have its address. It is
	// Linux's alone, and counts when the socket is opened.
	FreeBind bool
	// GetCertificate answers a TLS handshake; nil makes the socket plain. With nil
	// and no error the client gets the alert unrecognized_name. It may differ
	// from one Apply to the next: the socket stays open.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientAuth is what is asked of clients' certificates over TLS, and ClientCAs the
	// authorities that they are checked against, as in [tls.Config]: nil stands for the
	// system's. When either changes, connections that were admitted before drain.
	ClientAuth tls.ClientAuthType
	ClientCAs  *x509.CertPool
}

// Server is the data plane. Its methods are safe for concurrent use.
type Server struct {
	settings Settings
	asking   Settings // for questions to authorization servers
	table    atomic.Pointer[router.Table]
	pool     *pool
	stats    Stats
	dates    exchange.Dates
	pressure exchange.Pressure
	clients  admission
	quic     quicPorts
	loops    *loop.Group // the express lane, or nil

	heads        *buffers  // headSize
	bodies       *buffers  // bodySize
	outputs      *buffers  // outputSize
	datagrams    *buffers  // maxDatagram
	streams      sync.Pool // of *h2Stream
	edgeStreams  sync.Pool // of *edgeStream
	edgeRequests sync.Pool // of *edgeRequest
	attempts     sync.Pool // of *h2Attempt

	mu         sync.Mutex // guards what follows
	sockets    map[string]*socket
	udp        map[string]*datagramSocket
	ticketKeys [][32]byte // see SetTicketKeys; empty at first
	phase      phase
	entries    []*Entry
	running    sync.WaitGroup // the goroutines of sockets and entries, once Run runs
}

type phase uint8

const (
	waiting phase = iota // Run was not called yet: sockets listen but do not accept
	serving
	stopped
)

// New returns a Server with no sockets and an empty table.
func New(settings Settings) *Server { return newServerWith(settings, 0) }

// newServerWith is New with so many loops, see [loop.Config].
func newServerWith(settings Settings, loops int) *Server {
	s := &Server{
		settings:  settings.WithDefaults(),
		heads:     newBuffers(headSize),
		bodies:    newBuffers(bodySize),
		outputs:   newBuffers(outputSize),
		datagrams: newBuffers(maxDatagram),
		sockets:   map[string]*socket{},
		udp:       map[string]*datagramSocket{},
	}
	s.asking = s.authSettings()
	s.pool = newPool(s)
	if s.settings.MemoryLimit > 0 {
		s.pressure.Limit(s.settings.MemoryLimit / 100 * pressureOn)
	}
	s.clients = admission{
		limit: s.settings.MaxConnectionsPerAddress,
		free:  func(address netip.Addr) bool { return s.settings.Trusts(address) },
		open:  map[netip.Addr]int{},
	}
	if settings.Dial == nil && settings.Lane != exchange.LaneFull {
		s.loops = s.newLoops(loops)
	}
	s.table.Store(router.Compile(nil, nil))
	return s
}

// Stats returns the Server's gauges.
func (s *Server) Stats() *Stats { return &s.stats }

// Apply makes the sockets what listeners says and routes by table from the next
// request on. It opens sockets, swaps the table, and then closes the sockets
// that are not wanted any more; their connections finish the exchange in
// flight, or one that is on its way, by the table before. It does not wait for them, so it is quick.
//
// The answer has an entry for each Listener: nil when its socket is open, or
// why not. Such a socket is tried again by the next Apply. Sockets accept once
// Run runs.
func (s *Server) Apply(table *router.Table, listeners []Listener) map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()

	result := make(map[string]error, len(listeners))
	if s.phase == stopped {
		for _, l := range listeners {
			result[l.Name] = ErrStopped
		}
		return result
	}
	s.quic.yield(s.sockets, listeners)
	opened := map[string]port{}
	wanted := make(map[string]bool, len(listeners))
	for i := range listeners {
		l := &listeners[i]
		wanted[l.Name] = true
		if s.portOf(l.Name) != nil {
			continue
		}
		p, err := s.openPort(l)
		result[l.Name] = err
		if err == nil {
			opened[l.Name] = p
		}
	}
	removed := map[string]port{}
	for name, p := range s.ports() {
		if !wanted[name] {
			p.retire(s.table.Load())
			removed[name] = p
		}
	}
	s.table.Store(table)
	for i := range listeners {
		if p := s.portOf(listeners[i].Name); p != nil {
			result[listeners[i].Name] = nil
			p.follow(&listeners[i])
		}
	}
	for _, p := range opened {
		s.start(p)
	}
	for name, p := range removed {
		p.close()
		delete(s.sockets, name)
		delete(s.udp, name)
	}
	return result
}

// port is an open socket, of TCP or UDP. Its methods are called holding the Server's mu.
type port interface {
	// retire says that the socket is about to be closed, and goes on with a Table.
	retire(t *router.Table)
	// follow takes over what may change while the socket is open. The Server's Table is
	// the new one.
	follow(l *Listener)
	// start makes the socket serve, on goroutines of group.
	start(group *sync.WaitGroup)
	// close makes the socket drain.
	close()
}

// ports yields the open sockets and their names. The caller holds s.mu.
func (s *Server) ports() iter.Seq2[string, port] {
	return func(yield func(string, port) bool) {
		for name, sock := range s.sockets {
			if !yield(name, sock) {
				return
			}
		}
		for name, d := range s.udp {
			if !yield(name, d) {
				return
			}
		}
	}
}

// portOf returns the open socket of a name, or nil. The caller holds s.mu.
func (s *Server) portOf(name string) port {
	if sock := s.sockets[name]; sock != nil {
		return sock
	}
	if d := s.udp[name]; d != nil {
		return d
	}
	return nil
}

// openPort opens the socket of l. The caller holds s.mu.
func (s *Server) openPort(l *Listener) (port, error) {
	if l.Protocol == router.SocketUDP {
		d, err := s.openDatagrams(*l)
		if err != nil {
			return nil, err
		}
		s.udp[l.Name] = d
		return d, nil
	}
	sock, err := s.open(*l)
	if err != nil {
		return nil, err
	}
	s.sockets[l.Name] = sock
	sock.followTicketKeys()
	return sock, nil
}

// start lets a socket serve, if Run runs. The caller holds s.mu.
func (s *Server) start(p port) {
	if s.phase == serving {
		p.start(&s.running)
	}
}

// Run accepts and serves until ctx ends. Then it closes the sockets and drains:
// idle connections are closed at once, exchanges in flight are finished with
// Connection: close, and after [Settings.DrainTimeout] whatever is left is
// closed. It returns nil, and may be called once.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.phase != waiting {
		s.mu.Unlock()
		return errors.New("server runs already")
	}
	s.phase = serving
	for _, p := range s.ports() {
		s.start(p)
	}
	s.mu.Unlock()

	var tidying sync.WaitGroup
	tidyCtx, stopTidying := context.WithCancel(context.Background())
	tidying.Go(func() { s.pool.run(tidyCtx) })
	s.runLoops(tidyCtx, &tidying)
	if s.settings.MemoryLimit > 0 {
		tidying.Go(func() { watchMemory(tidyCtx, s.settings.MemoryLimit, &s.pressure) })
	}

	<-ctx.Done()
	s.mu.Lock()
	s.phase = stopped
	for _, p := range s.ports() {
		p.close()
	}
	clear(s.sockets)
	clear(s.udp)
	for _, e := range s.entries {
		if s.settings.EntriesEnd == nil {
			e.close()
		}
		s.running.Go(e.drain)
	}
	s.mu.Unlock()

	s.running.Wait()
	stopTidying()
	tidying.Wait()
	s.pool.close()
	return nil
}
