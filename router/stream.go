package router

// Stream says where connections or datagrams go that are not read as HTTP: those of
// a TLSRoute, a TCPRoute or a UDPRoute. It is immutable once it stands in a [Table].
type Stream struct {
	// Listener and Route name the API objects that it was made from, as in [Rule].
	Listener string
	Route    string
	// Backends are the weighted targets; only their Backend and Weight count. With a
	// total weight of zero, or a nil Backend, the connection is closed.
	Backends []WeightedBackend
}

// Pick chooses one of the Backends by weight, as [Action.Pick] does; nil when none can
// take the connection.
func (s *Stream) Pick() *Backend {
	chosen := (&Action{Backends: s.Backends}).Pick()
	if chosen == nil {
		return nil
	}
	return chosen.Backend
}

// StreamRules are what happens to connections of one server name, at one Listener
// with protocol TLS, TCP or UDP. Hostnames are in lower case, and in the forms of
// [HostRules].
type StreamRules struct {
	// Socket names the listening socket, as in the Plan's sockets.
	Socket string
	// ListenerHost is the hostname of the Listener, "" for any, and always "" for TCP and UDP. A
	// connection belongs to the most specific Listener of its socket alone, of those with
	// HTTPRoutes and those with TLSRoutes, even if nothing there matches.
	ListenerHost string
	// Terminate says that TLS ends here; otherwise it is passed through to the endpoint.
	Terminate bool
	// Host is the hostname that the Route names.
	Host string
	// Stream is nil for a Listener without a Route.
	Stream *Stream
}

// StreamMatch says whose a connection is, by its server name.
type StreamMatch struct {
	// HTTP says that the connection belongs to a Listener with HTTPRoutes, or to none
	// at all on a socket that has some: its requests are for [Table.Match]. Then nothing
	// else is set.
	HTTP      bool
	Terminate bool
	// Stream is nil when no Route wants the connection.
	Stream *Stream
}

// A connection finds its Stream as a request finds its Rule: by its socket, then by the
// most specific Listener for its server name, then by the most specific hostname in it.
// Listeners with HTTPRoutes take part in that, so the Table that WithStreams makes has
// an index of both kinds for each socket that has streams. Sockets without have none:
// for them the answer is one look-up in an empty map.

// streamListeners are those of one socket, by hostname.
type streamListeners = hostIndex[streamListener]

// streamListener is a Listener of a socket that has streams.
type streamListener struct {
	http      bool // it has Rules
	streams   bool // it has StreamRules
	terminate bool // says the first of these
	hosts     hostIndex[Stream]
}

// WithStreams returns a Table with the Rules of t, and with streams for what is not read
// as HTTP. Of StreamRules that differ in nothing but their Stream, the first one that has
// any counts; of those of one Listener, the first one's Terminate.
func (t *Table) WithStreams(streams []StreamRules) *Table {
	with := &Table{sockets: t.sockets, special: t.special, asking: t.asking}
	if len(streams) == 0 {
		return with
	}
	with.streams = map[string]*streamListeners{}
	for i := range streams {
		r := &streams[i]
		socket := with.streams[r.Socket]
		if socket == nil {
			socket = t.listenersForStreams(r.Socket)
			with.streams[r.Socket] = socket
		}
		name := hostName{host: r.ListenerHost}
		l := socket.get(name)
		if l == nil {
			l = &streamListener{}
			socket.put(name, l)
		}
		if !l.streams {
			l.streams, l.terminate = true, r.Terminate
		}
		if host := (hostName{host: r.Host}); r.Stream != nil && l.hosts.get(host) == nil {
			l.hosts.put(host, r.Stream)
		}
	}
	return with
}

// listenersForStreams returns an index of the Listeners with HTTPRoutes of a socket.
func (t *Table) listenersForStreams(socket string) *streamListeners {
	known := t.sockets[socket]
	if known == nil {
		return &streamListeners{}
	}
	index := &streamListeners{}
	for name := range known.all() {
		index.put(name, &streamListener{http: true})
	}
	return index
}

// Streams reports whether a socket has Listeners whose connections are not read as
// HTTP.
func (t *Table) Streams(socket string) bool { return t.streams[socket] != nil }

// HTTP reports whether a socket has Listeners with HTTPRoutes.
func (t *Table) HTTP(socket string) bool { return t.sockets[socket] != nil }

// MatchStream says whose a connection to a socket is. serverName is what its client named
// (RFC 6066 §3), as [NormalizeHost] returns it, or "" if it named nobody or is not TLS.
// It neither locks nor allocates.
func (t *Table) MatchStream(socket, serverName string) StreamMatch {
	s := t.streams[socket]
	if s == nil {
		return StreamMatch{HTTP: true}
	}
	for l := range s.candidates(serverName) {
		return l.match(serverName) // the first alone: Listeners are isolated
	}
	return StreamMatch{HTTP: t.HTTP(socket)}
}

// match finds the Stream of the most specific hostname. Ingress may have put Rules where a
// Listener for streams is: these get the names that no Stream wants.
func (l *streamListener) match(serverName string) StreamMatch {
	for stream := range l.hosts.candidates(serverName) {
		return StreamMatch{Terminate: l.terminate, Stream: stream}
	}
	if l.http {
		return StreamMatch{HTTP: true}
	}
	return StreamMatch{Terminate: l.terminate}
}

// SocketProtocol is what is spoken on a listening socket.
type SocketProtocol uint8

const (
	// SocketHTTP is HTTP in the clear.
	SocketHTTP SocketProtocol = iota
	// SocketTLS is TLS, with HTTP in it, or streams of TLSRoutes, as the Table says for
	// each server name.
	SocketTLS
	// SocketTCP is streams of TCPRoutes.
	SocketTCP
	// SocketUDP is datagrams of UDPRoutes.
	SocketUDP
)

// String returns "HTTP", "TLS", "TCP" or "UDP".
func (p SocketProtocol) String() string {
	switch p {
	case SocketTLS:
		return "TLS"
	case SocketTCP:
		return "TCP"
	case SocketUDP:
		return "UDP"
	default:
		return "HTTP"
	}
}
