package tunnel

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// quicStream is a stream of QUIC as a connection.
type quicStream struct {
	*quic.Stream
	conn     *quic.Conn
	client   net.Addr
	accept   func() error // sends the response's head with the first Read or Write; nil when there is none to send
	accepted sync.Once
	writing  atomic.Int32
	ended    sync.Once
}

// callStream is a stream of which it is not known yet whether it has a request or calls: behind
// the signature, which the latter begin with too, it has messages.
type callStream struct {
	*quicStream
	signature int // bytes of it that are to be read
	messages  messages
}

// Read implements io.Reader.
func (c *callStream) Read(p []byte) (int, error) {
	if c.signature == 0 {
		return c.messages.Read(p)
	}
	n, err := c.quicStream.Read(p[:min(len(p), c.signature)])
	c.signature -= n
	return n, err
}

func (s *quicStream) begin() {
	if s.accept != nil {
		s.accepted.Do(func() { _ = s.accept() }) // the next Write knows
	}
}

// Read implements net.Conn.
func (s *quicStream) Read(p []byte) (int, error) {
	s.begin()
	return s.Stream.Read(p)
}

// Write implements net.Conn.
func (s *quicStream) Write(p []byte) (int, error) {
	s.begin()
	s.writing.Add(1)
	defer s.writing.Add(-1)
	return s.Stream.Write(p)
}

// CloseWrite ends the direction that is written.
func (s *quicStream) CloseWrite() error { return s.end() }

func (s *quicStream) end() error {
	var err error
	s.ended.Do(func() { err = s.Stream.Close() })
	return err
}

// Close makes reads and writes that wait return. What was written still arrives, and the
// stream ends as its handler returns.
func (s *quicStream) Close() error {
	s.CancelRead(0)
	if s.writing.Load() > 0 {
		_ = s.SetWriteDeadline(time.Unix(1, 0)) // the write tells of it
	}
	return nil
}

// LocalAddr implements net.Conn.
func (s *quicStream) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s *quicStream) RemoteAddr() net.Addr { return s.client }
