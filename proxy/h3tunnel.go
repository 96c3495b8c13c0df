package proxy

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// h3Tunnel is a stream that carries another protocol, as a connection. Close makes reads
// and writes that wait return.
type h3Tunnel struct {
	*http3.Stream
	conn  *quic.Conn
	ended atomic.Bool // what is written
}

// Read implements net.Conn.
func (t *h3Tunnel) Read(p []byte) (int, error) {
	n, err := t.Stream.Read(p)
	return n, breakOf(err)
}

// Write implements net.Conn.
func (t *h3Tunnel) Write(p []byte) (int, error) {
	n, err := t.Stream.Write(p)
	return n, breakOf(err)
}

// breakOf tells a client that has ended its connection, or is gone, from us: QUIC calls both closed.
func breakOf(err error) error {
	if !errors.Is(err, net.ErrClosed) {
		return err
	}
	if closed, ok := errors.AsType[*quic.ApplicationError](err); ok && !closed.Remote {
		return err
	}
	return errStreamOver
}

// LocalAddr implements net.Conn.
func (t *h3Tunnel) LocalAddr() net.Addr { return t.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (t *h3Tunnel) RemoteAddr() net.Addr { return t.conn.RemoteAddr() }

// CloseWrite ends the direction that is written.
func (t *h3Tunnel) CloseWrite() error {
	t.ended.Store(true)
	return t.Stream.Close()
}

// Close ends both directions. That which is written is reset where it has not ended (RFC 9220 §3).
func (t *h3Tunnel) Close() error {
	t.CancelRead(quic.StreamErrorCode(http3.ErrCodeNoError))
	if !t.ended.Load() {
		t.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	}
	return nil
}
