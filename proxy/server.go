package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
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
	table    atomic.Pointer[router.Table]
	pool     *pool
	stats    Stats
	dates    exchange.Dates
	pressure exchange.Pressure
	clients  admission
	quic     quicPorts
	loops    *loop.Group // the express lane, or nil

	heads    *buffers  // headSize
	bodies   *buffers  // bodySize
	outputs  *buffers  // outputSize
	streams  sync.Pool // of *h2Stream
	attempts sync.Pool // of *h2Attempt

	mu      sync.Mutex // guards what follows
	sockets map[string]*socket
	phase   phase
	running sync.WaitGroup // the sockets' goroutines, once Run runs
}

type phase uint8

const (
	waiting phase = iota // Run was not called yet: sockets listen but do not accept
	serving
	stopped
)

// New returns a Server with no sockets and an empty table.
func New(settings Settings) *Server {
	dials := settings.Dial != nil
	s := &Server{
		settings: settings.WithDefaults(),
		heads:    newBuffers(headSize),
		bodies:   newBuffers(bodySize),
		outputs:  newBuffers(outputSize),
		sockets:  map[string]*socket{},
	}
	s.pool = newPool(s)
	if s.settings.MemoryLimit > 0 {
		s.pressure.Limit(s.settings.MemoryLimit)
	}
	s.clients = admission{
		limit: s.settings.MaxConnectionsPerAddress,
		free:  func(address netip.Addr) bool { return s.settings.Trusts(address) },
		open:  map[netip.Addr]int{},
	}
	s.loops = s.newLoops(dials)
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
	var opened []*socket
	for _, l := range listeners {
		if s.sockets[l.Name] != nil {
			continue
		}
		sock, err := s.open(l)
		result[l.Name] = err
		if err == nil {
			s.sockets[l.Name] = sock
			opened = append(opened, sock)
		}
	}
	wanted := make(map[string]bool, len(listeners))
	for _, l := range listeners {
		wanted[l.Name] = true
	}
	for name, sock := range s.sockets {
		if !wanted[name] {
			sock.last.Store(s.table.Load())
		}
	}
	s.table.Store(table)
	for _, l := range listeners {
		if sock := s.sockets[l.Name]; sock != nil {
			result[l.Name] = nil
			sock.secure(&l)
			if s.phase == serving {
				sock.startHTTP3()
			}
		}
	}
	for _, sock := range opened {
		s.start(sock)
	}
	for name, sock := range s.sockets {
		if !wanted[name] {
			sock.close()
			delete(s.sockets, name)
		}
	}
	return result
}

// start lets a socket accept, if Run runs. The caller holds s.mu.
func (s *Server) start(sock *socket) {
	if s.phase == serving {
		sock.start(&s.running)
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
	for _, sock := range s.sockets {
		s.start(sock)
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
	for _, sock := range s.sockets {
		sock.close()
	}
	clear(s.sockets)
	s.mu.Unlock()

	s.running.Wait()
	stopTidying()
	tidying.Wait()
	s.pool.close()
	return nil
}
