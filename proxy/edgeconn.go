package proxy

import (
	"net"

	"github.com/lintel-dev/lintel/proxy/h2"
)

// edgeConn is a stream of Cloudflare's edge as a connection. The first Read or Write accepts
// it.
type edgeConn struct {
	h2Tunnel
	client  net.Addr
	head    h2.Response // accepts
	refusal h2.Response // is sent by finish to a stream that was not accepted; its zero value accepts it even then

	// Guarded by the link's mutex.
	accepted bool
	ended    bool // what is written has come to its end
	writing  bool
}

// accept sends the head. mu is held.
func (c *edgeConn) accept() {
	if c.accepted {
		return
	}
	c.accepted = true
	f := c.flow
	if f.link.codec.WriteResponse(f.id, &c.head) == nil { // or the next Write knows
		f.link.flush()
	}
}

// Read implements net.Conn.
func (c *edgeConn) Read(p []byte) (int, error) {
	c.flow.link.mu.Lock()
	c.accept()
	c.flow.link.mu.Unlock()
	return c.h2Tunnel.Read(p)
}

// Write implements net.Conn.
func (c *edgeConn) Write(p []byte) (int, error) {
	mu := &c.flow.link.mu
	mu.Lock()
	c.accept()
	c.writing = true
	mu.Unlock()
	n, err := c.h2Tunnel.Write(p)
	mu.Lock()
	c.writing = false
	mu.Unlock()
	return n, err
}

// CloseWrite ends the direction that is written.
func (c *edgeConn) CloseWrite() error {
	c.flow.link.mu.Lock()
	defer c.flow.link.mu.Unlock()
	c.accept()
	return c.endWrite()
}

// endWrite is CloseWrite while mu is held.
func (c *edgeConn) endWrite() error {
	if c.ended {
		return nil
	}
	c.ended = true
	f := c.flow
	_, err := f.link.codec.WriteData(f.id, nil, h2.Last)
	f.link.flush()
	return err
}

// Close makes reads and writes that wait return. What was written still arrives, and the
// stream ends as it is finished.
func (c *edgeConn) Close() error {
	f := c.flow
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	if c.writing {
		f.link.codec.Reset(f.id, h2.Cancel) // the edge must see that it is not all
		f.link.kick()
	}
	f.over(net.ErrClosed)
	return nil
}

// finish ends the stream, of which nobody reads or writes any more.
func (c *edgeConn) finish() {
	f := c.flow
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	if !c.accepted && c.refusal.Status != 0 {
		c.accepted, c.ended = true, true
		_ = f.link.codec.WriteResponse(f.id, &c.refusal) // the edge may be gone
	}
	c.accept()
	_ = c.endWrite() // the same
	if !f.ended {
		f.link.codec.Reset(f.id, h2.NoError)
	}
	f.over(net.ErrClosed)
	f.link.flush()
}

// RemoteAddr implements net.Conn.
func (c *edgeConn) RemoteAddr() net.Addr { return c.client }
