package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/proxyprotocol"
	"github.com/lintel-dev/lintel/router"
)

// Entry takes requests and streams that somebody else has received, such as the end of a
// tunnel, as if they had come in on sockets of the Table; whether such sockets are open
// does not matter. All that a Rule can do it does to them.
//
// Requests pass the full lane. They come on connections of HTTP/2 (ServeHTTP2) or one by
// one (ServeRequest). What is more than MaxConnections at once is answered with 503.
type Entry struct {
	server *Server
	ways   atomic.Pointer[Ways]

	mu        sync.Mutex // guards what follows
	closed    bool
	exchanges map[cutter]struct{}
	streams   map[*stream]struct{}
	served    sync.WaitGroup
}

// Ways are the sockets of the Table that an [Entry] leads to. The zero Ways lead nowhere.
type Ways struct {
	// Plain and Secure are the sockets of requests with the schemes http and https; ""
	// answers them as if there were no route.
	Plain, Secure string
	// Streams are the sockets of TCP by the port that a client asks for. Others are
	// refused.
	Streams map[uint16]string
	// Guard is asked about each request before the Table is, and one that it returns an
	// error for is answered with 403; what the error says is its own business. There is
	// nothing to ask it about streams, so that none is served beside it. It is called by
	// many goroutines; nil lets everything pass.
	Guard func(*http.Request) error
}

// Entry returns a new entry that leads nowhere. It is open until Run ends.
func (s *Server) Entry() *Entry {
	e := &Entry{server: s, exchanges: map[cutter]struct{}{}, streams: map[*stream]struct{}{}}
	e.Lead(Ways{})
	s.mu.Lock()
	defer s.mu.Unlock()
	e.closed = s.phase == stopped
	s.entries = append(s.entries, e)
	return e
}

// Lead says where the entry leads from now on. Who calls it does not change w any more.
func (e *Entry) Lead(w Ways) { e.ways.Store(&w) }

// bar notes that a Guard has refused a client's request.
func (e *Entry) bar(c *exchange.Client) {
	e.server.stats.NoAccess.Add(1)
	c.Barred = exchange.CauseNoAccess
}

// cutter is an exchange that can be ended at once.
type cutter interface{ cut() }

// enter notes that an exchange begins, unless there are as many as connections may be.
func (e *Entry) enter(d cutter) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.full() {
		return false
	}
	e.served.Add(1)
	e.exchanges[d] = struct{}{}
	return true
}

// full reports whether no more may be under way. The caller holds e.mu.
func (e *Entry) full() bool {
	limit := e.server.settings.MaxConnections
	if limit <= 0 || len(e.exchanges)+len(e.streams) < limit {
		return false
	}
	e.server.stats.Refused.Add(1)
	return true
}

func (e *Entry) leave(d cutter) {
	e.mu.Lock()
	delete(e.exchanges, d)
	e.mu.Unlock()
	e.served.Done()
}

// visitor is what a receiver knows of who sent a request.
type visitor struct {
	host     string
	protocol string         // as [exchange.Client] has it
	peer     netip.AddrPort // invalid is unknown
	plain    bool           // it speaks http, and not https
}

// client is what an exchange tells of who sent a request.
func (e *Entry) client(ways *Ways, v *visitor) exchange.Client {
	c := exchange.Client{Socket: ways.Secure, Scheme: "https", Port: "443", Protocol: v.protocol}
	if v.plain {
		c.Socket, c.Scheme, c.Port = ways.Plain, "http", "80"
	}
	if strings.IndexByte(v.host, ':') >= 0 { // an error of what follows costs more than a look
		if _, port, err := net.SplitHostPort(v.host); err == nil && port != "" {
			c.Port = port
		}
	}
	c.ServerName, _ = router.NormalizeHost(v.host) // as the client must have named it
	if peer := bare(v.peer); peer.IsValid() {
		port, _ := strconv.ParseUint(c.Port, 10, 16)
		c.Addr, c.Address = peer.Addr(), peer.Addr().String()
		c.Source, c.Destination = peer, netip.AddrPortFrom(unspecified(peer.Addr()), uint16(port))
		c.Trusted = e.server.settings.Trusts(c.Addr)
	}
	return c
}

// unspecified is the address that stands for no other of a's family.
func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// ServeStream serves a client's TCP stream to destination ("host:port", of which the port
// counts), and closes it.
func (e *Entry) ServeStream(conn net.Conn, destination string) {
	_, port, _ := net.SplitHostPort(destination)
	number, _ := strconv.ParseUint(port, 10, 16) // 0 leads nowhere
	ways := e.ways.Load()
	name := ways.Streams[uint16(number)]
	table := e.server.table.Load()
	match := table.MatchStream(name, "")
	if name == "" || ways.Guard != nil || match.HTTP || match.Terminate {
		match = router.StreamMatch{}
	}
	a := arrival{conn: conn}
	if source := addrPort(conn.RemoteAddr()); source.IsValid() {
		a.client = proxyprotocol.Header{Source: source, Destination: netip.AddrPortFrom(unspecified(source.Addr()), uint16(number))}
	}
	t := newStream(&socket{name: name, server: e.server}, a, match)
	e.mu.Lock()
	if e.closed || e.full() {
		e.mu.Unlock()
		conn.Close()
		return
	}
	e.served.Add(1)
	e.streams[t] = struct{}{}
	e.mu.Unlock()
	t.run()
	e.mu.Lock()
	delete(e.streams, t)
	e.mu.Unlock()
	e.served.Done()
}

// close refuses what comes from now on.
func (e *Entry) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
}

// drain waits for what is under way, and ends what is left after the DrainTimeout.
func (e *Entry) drain() {
	if end := e.server.settings.EntriesEnd; end != nil {
		<-end
		e.close()
	}
	timeout := time.AfterFunc(e.server.settings.DrainTimeout, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		for d := range e.exchanges {
			d.cut()
		}
		for t := range e.streams {
			t.abort()
		}
	})
	defer timeout.Stop()
	e.served.Wait()
}

// table is what the next request is routed by.
func (e *Entry) table() *router.Table { return e.server.table.Load() }
