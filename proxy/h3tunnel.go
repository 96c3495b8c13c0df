package proxy

import (
	"net"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// h3Tunnel is a stream that carries another protocol, as a connection. Close makes reads
// and writes that wait return.
type h3Tunnel struct {
	*http3.Stream
	conn *quic.Conn
}

// LocalAddr implements net.Conn.
func (t *h3Tunnel) LocalAddr() net.Addr { return t.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *h3Tunnel) RemoteAddr() net.Addr { return t.conn.RemoteAddr() }

// CloseWrite ends the direction that is written.
func (t *h3Tunnel) CloseWrite() error { return t.Stream.Close() }

// Close ends both directions. What was written still arrives.
func (t *h3Tunnel) Close() error {
	t.CancelRead(quic.StreamErrorCode(http3.ErrCodeNoError))
	_ = t.SetWriteDeadline(past)
	return t.Stream.Close()
}
