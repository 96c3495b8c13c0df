package proxy

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/lintel-dev/lintel/proxy/tls13"
)

// closeTimeout bounds how long the goodbye of a connection may take.
const closeTimeout = 5 * time.Second

// secureConn is a TLS 1.3 connection on top of a Session, for those that do not stay
// in a loop. One goroutine may read while others write.
type secureConn struct {
	net.Conn

	// sealed[opened:] are records that were read and not opened yet; plain is what is
	// left of the one before. They belong to whoever reads.
	sealed []byte
	opened int
	plain  []byte

	mu      sync.Mutex // guards session, never while I/O is done
	session *tls13.Session

	writing  sync.Mutex // held from sealing to writing, so that records keep their order
	records  []byte     // guarded by writing
	released bool       // likewise: the Session is somebody else's
}

// newSecureConn takes sealed over, records that were read behind the handshake or
// what a loop has opened.
func newSecureConn(conn net.Conn, session *tls13.Session, sealed []byte) *secureConn {
	return &secureConn{Conn: conn, session: session, sealed: sealed}
}

// Read returns what the peer has sent; io.EOF after its close_notify alone.
func (c *secureConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(c.plain) == 0 {
		data, n, err := c.open()
		if err != nil {
			return 0, c.refuse(err)
		}
		c.opened += n
		c.plain = data
		if n == 0 {
			if err := c.fill(); err != nil {
				return 0, err
			}
		}
	}
	n := copy(p, c.plain)
	c.plain = c.plain[n:]
	return n, nil
}

func (c *secureConn) open() (data []byte, n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session.Open(c.sealed[c.opened:])
}

// refuse tells the peer of a rule that it broke.
func (c *secureConn) refuse(err error) error {
	if _, broken := errors.AsType[*tls13.ProtocolError](err); broken {
		_ = c.CloseWrite()
	}
	return err
}

// fill reads more records.
func (c *secureConn) fill() error {
	c.sealed = c.sealed[:copy(c.sealed, c.sealed[c.opened:])]
	c.opened = 0
	c.sealed = slices.Grow(c.sealed, tls13.MaxRecord-min(len(c.sealed), tls13.MaxRecord-1))
	n, err := c.Conn.Read(c.sealed[len(c.sealed):cap(c.sealed)])
	c.sealed = c.sealed[:len(c.sealed)+n]
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF // no close_notify
	}
	return err
}

// Write sends p.
func (c *secureConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	done := 0
	for done < len(p) {
		piece := p[done:min(len(p), done+bodySize)]
		c.mu.Lock()
		c.records = c.session.Seal(c.records[:0], piece)
		c.mu.Unlock()
		if _, err := c.Conn.Write(c.records); err != nil {
			return done, err
		}
		done += len(piece)
	}
	return done, nil
}

// CloseWrite tells the peer that nothing follows.
func (c *secureConn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.released {
		return net.ErrClosed
	}
	c.mu.Lock()
	c.records = c.session.AppendClose(c.records[:0])
	c.mu.Unlock()
	_, err := c.Conn.Write(c.records)
	return err
}

// NetConn is what lies below TLS.
func (c *secureConn) NetConn() net.Conn { return c.Conn }

// release gives the Session away, and what was read: first what is plain, and then what is
// still sealed. Nobody reads or writes any more, and Close says no goodbye.
func (c *secureConn) release() (session *tls13.Session, plain, sealed []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.released = true
	return c.session, c.plain, c.sealed[c.opened:]
}

// Close ends the connection, with a goodbye if nobody is writing.
func (c *secureConn) Close() error {
	if c.writing.TryLock() {
		c.writing.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(closeTimeout))
		_ = c.CloseWrite()
	}
	return c.Conn.Close()
}
