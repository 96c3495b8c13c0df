package proxy

import (
	"net"
	"os"

	"github.com/lintel-dev/lintel/proxy/loop"
)

// relayPair gives two connections to a loop that relays them, or returns nil when no loop
// can: something is not TCP, or TLS 1.3 on the client's side.
func (s *Server) relayPair(client, upstream net.Conn, pair loop.Pair) *loop.Relay {
	secure, isSecure := client.(*secureConn)
	if isSecure {
		client = secure.Conn
	}
	plainClient, clientOK := client.(*net.TCPConn)
	plainUpstream, upstreamOK := upstream.(*net.TCPConn)
	if s.loops == nil || !clientOK || !upstreamOK {
		return nil
	}
	var ok bool
	if pair.Client, ok = duplicate(plainClient); !ok {
		return nil
	}
	if pair.Upstream, ok = duplicate(plainUpstream); !ok {
		os.NewFile(uintptr(pair.Client), "").Close()
		return nil
	}
	if isSecure {
		var plain []byte
		pair.Session, plain, pair.Sealed = secure.release()
		pair.Pending = append(pair.Pending, plain...)
	}
	_ = client.Close() // the duplicates go on, unknown to the runtime's poller
	_ = upstream.Close()
	return s.loops.Relay(pair)
}
