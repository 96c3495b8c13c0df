package tunnel

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lintel-dev/lintel/internal/edgewire"
)

// quicStream is a stream of QUIC as a connection. It implements [edgewire.Stream].
type quicStream struct {
	*quic.Stream
	in       *bufio.Reader // of Stream
	conn     *quic.Conn
	accepts  bool // the first Read or Write accepts the stream by a head
	accepted sync.Once
	writing  atomic.Int32
	ended    sync.Once
}

// begin accepts the stream. The next Write knows if that fails.
func (s *quicStream) begin() {
	if s.accepts {
		s.accepted.Do(func() { _ = s.answer(0, "") })
	}
}

// refuse tells the edge that nobody serves the stream, unless it was accepted.
func (s *quicStream) refuse() error {
	var err error
	s.accepted.Do(func() { err = s.answer(http.StatusBadGateway, io.ErrClosedPipe.Error()) })
	return err
}

// answer sends a head without fields.
func (s *quicStream) answer(status int, fault string) error {
	head := edgewire.BeginHead(nil, status, 0, fault)
	_, err := s.Stream.Write(head.End())
	return err
}

// Read implements net.Conn.
func (s *quicStream) Read(p []byte) (int, error) {
	s.begin()
	return s.in.Read(p)
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

// RemoteAddr implements net.Conn. Nothing over QUIC tells of a TCP stream's client, and a
// request's stands in its head.
func (s *quicStream) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// callStream is a stream that has calls: behind
// the signature it has messages.
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
