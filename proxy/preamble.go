package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/proxyprotocol"
)

// arrival is an accepted connection before it is clear what serves it.
type arrival struct {
	conn   net.Conn             // nil while it is a descriptor of the loops; see connect
	client proxyprotocol.Header // whom a load balancer speaks for; zero when it is nobody
	unread []byte               // read behind that header

	fd          int // while conn is nil, and
	peer, local netip.AddrPort
}

// connect makes the arrival a connection of the full lane. If that fails, it is closed.
func (a *arrival) connect() (err error) {
	if a.conn == nil {
		a.conn, err = connectionOf(a.fd)
	}
	return err
}

// close ends it before anybody serves it.
func (a *arrival) close() {
	if a.conn != nil {
		a.conn.Close()
		return
	}
	os.NewFile(uintptr(a.fd), "").Close()
}

// connectionOf makes a connection of a descriptor, which is used up.
func connectionOf(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "")
	defer file.Close()
	conn, err := net.FileConn(file) // a duplicate
	if err != nil {
		return nil, fmt.Errorf("make connection of descriptor: %w", err)
	}
	return conn, nil
}

// receivePreamble reads the PROXY protocol header with which a load balancer
// begins, and then lets the connection be served.
func (s *socket) receivePreamble(a arrival) {
	defer s.served.Done()
	conn := a.conn
	_ = conn.SetReadDeadline(time.Now().Add(s.server.settings.ReadHeaderTimeout))
	err := a.readHeader()
	_ = conn.SetReadDeadline(time.Time{})

	s.mu.Lock()
	delete(s.arriving, conn)
	s.mu.Unlock()
	if err != nil {
		if bad, ok := errors.AsType[proxyprotocol.Error](err); ok {
			s.server.settings.Log.Warn("connection refused", "socket", s.name, "peer", conn.RemoteAddr().String(), "error", bad)
		}
		conn.Close()
		s.leave()
		return
	}
	s.welcome(a)
}

// source is the client's address; invalid when the connection has none.
func (a *arrival) source() netip.AddrPort {
	if a.client.Source.IsValid() {
		return a.client.Source
	}
	if a.conn == nil {
		return a.peer
	}
	return addrPort(a.conn.RemoteAddr())
}

// identify returns what is known of the client on a socket.
func (a *arrival) identify(s *socket) exchange.Client {
	client := exchange.Client{Socket: s.name, Scheme: "http"}
	client.Source, client.Destination = a.source(), a.destination()
	if source := client.Source; source.IsValid() {
		client.Addr = source.Addr()
		client.Address = client.Addr.String()
	}
	if destination := client.Destination; destination.IsValid() {
		client.Port = strconv.Itoa(int(destination.Port()))
	}
	client.Trusted = s.server.settings.Trusts(client.Addr)
	return client
}

// underTLS is the connection that TLS reads and writes.
func (a *arrival) underTLS() net.Conn {
	if len(a.unread) == 0 {
		return a.conn
	}
	return &behind{Conn: a.conn, unread: a.unread}
}

// destination is the address that the client connected to.
func (a *arrival) destination() netip.AddrPort {
	if a.client.Destination.IsValid() {
		return a.client.Destination
	}
	if a.conn == nil {
		return a.local
	}
	return addrPort(a.conn.LocalAddr())
}

// readHeader reads the header, and maybe bytes behind it.
func (a *arrival) readHeader() error {
	buf := make([]byte, 0, proxyprotocol.MaxSize)
	for {
		n, err := a.conn.Read(buf[len(buf):cap(buf)])
		if n == 0 {
			return err
		}
		buf = buf[:len(buf)+n]
		n, header, err := proxyprotocol.Parse(buf)
		if err != nil {
			return err
		}
		if n > 0 {
			a.client, a.unread = header, buf[n:]
			return nil
		}
		if len(buf) == cap(buf) {
			return proxyprotocol.ErrLong
		}
	}
}

// behind is a connection of which bytes were read already.
type behind struct {
	net.Conn
	unread []byte
}

// Read returns the bytes that were read already, and then what comes.
func (b *behind) Read(p []byte) (int, error) {
	if len(b.unread) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.unread)
	b.unread = b.unread[n:]
	return n, nil
}

// CloseWrite tells the peer that nothing follows.
func (b *behind) CloseWrite() error {
	if half, ok := b.Conn.(closeWriter); ok {
		return half.CloseWrite()
	}
	return io.ErrClosedPipe
}
