package tunnel

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// streamBuffer is what is read of a stream at a time.
const streamBuffer = 32 << 10

// http2Stream is a request and its response as a connection: a WebSocket or a TCP stream.
// HTTP/2's server cannot end a response before its handler returns, so there is no
// CloseWrite.
//
// A deadline of the request's body would end it for good, so a goroutine reads it into a
// pipe, whose deadlines pass.
type http2Stream struct {
	net.Conn          // the pipe's end that is read
	feed     net.Conn // the other one
	response *http2Response
	control  *http.ResponseController
	client   net.Addr
	accept   func() // sends the response's head with the first Read or Write; nil after it was sent
	accepted sync.Once
	fault    atomic.Pointer[error] // why the body ended, other than in order
	writing  atomic.Int32
	fed      chan struct{}
}

// stream makes r a connection to a client ("ip:port", or "" if it is not known).
func (r *http2Response) stream(client string) *http2Stream {
	s := &http2Stream{response: r, control: http.NewResponseController(r.ResponseWriter), client: peer(client), fed: make(chan struct{})}
	s.Conn, s.feed = net.Pipe()
	_ = s.control.SetReadDeadline(time.Time{})
	go s.pump()
	r.hijacked = s
	return s
}

// pump moves the request's body to who reads.
func (s *http2Stream) pump() {
	defer close(s.fed)
	buf := make([]byte, streamBuffer)
	for {
		n, err := s.response.request.Body.Read(buf)
		if n > 0 {
			if _, writeErr := s.feed.Write(buf[:n]); writeErr != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				s.fault.Store(&err)
			}
			s.feed.Close()
			return
		}
	}
}

func (s *http2Stream) begin() {
	s.accepted.Do(func() {
		if s.accept != nil {
			s.accept()
			_ = s.response.FlushError() // the next Write knows
		}
	})
}

// Read implements net.Conn.
func (s *http2Stream) Read(p []byte) (int, error) {
	s.begin()
	n, err := s.Conn.Read(p)
	if err == io.EOF {
		if fault := s.fault.Load(); fault != nil {
			err = *fault
		}
	}
	return n, err
}

// Write implements net.Conn.
func (s *http2Stream) Write(p []byte) (int, error) {
	s.begin()
	s.writing.Add(1)
	defer s.writing.Add(-1)
	n, err := s.response.Write(p)
	if err == nil {
		err = s.response.FlushError()
	}
	return n, err
}

// Close makes reads and writes that wait return. The response ends as its handler returns.
func (s *http2Stream) Close() error {
	if s.writing.Load() > 0 {
		_ = s.control.SetWriteDeadline(time.Unix(1, 0)) // which resets the stream
	}
	return s.Conn.Close()
}

// finish waits for the goroutine.
func (s *http2Stream) finish() {
	s.Conn.Close()
	s.response.request.Body.Close()
	<-s.fed
}

// SetWriteDeadline implements net.Conn. The stream does not outlive it.
func (s *http2Stream) SetWriteDeadline(at time.Time) error { return s.control.SetWriteDeadline(at) }

// SetDeadline implements net.Conn.
func (s *http2Stream) SetDeadline(at time.Time) error {
	_ = s.SetReadDeadline(at)
	return s.SetWriteDeadline(at)
}

// RemoteAddr implements net.Conn.
func (s *http2Stream) RemoteAddr() net.Addr { return s.client }
