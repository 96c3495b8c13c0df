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
	// at all: its requests are for [Table.Match].
	HTTP      bool
	Terminate bool
	// Stream is nil when no Route wants the connection.
	Stream *Stream
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
