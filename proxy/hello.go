package proxy

import (
	"errors"
	"net"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/proxy/clienthello"
	"github.com/lintel-dev/lintel/router"
)

// firstHello holds the ClientHello of any usual client.
const firstHello = 4 << 10

// receiveHello reads with which server a client of TLS wants to speak, and lets those who
// serve that go on with the connection. Only sockets with streams ask first.
func (s *socket) receiveHello(a arrival) {
	defer s.served.Done()
	_ = a.conn.SetReadDeadline(time.Now().Add(s.server.settings.ReadHeaderTimeout))
	name, err := a.readHello()
	_ = a.conn.SetReadDeadline(time.Time{})

	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.arriving, a.conn)
	wrong, isTLS := errors.AsType[clienthello.Error](err)
	switch {
	case err == nil:
		s.route(a, name)
	case isTLS && wrong != clienthello.ErrLong && s.table().HTTP(s.name):
		s.beginSecure(&a) // which says what is wrong
	default:
		if isTLS {
			sendAlert(a.conn, byte(wrong))
		}
		a.conn.Close()
		s.server.clients.leave(a.source().Addr())
		s.count--
	}
}

// route serves a connection by what its client wants. The caller holds s.mu.
func (s *socket) route(a arrival, serverName string) {
	match := s.table().MatchStream(s.name, serverName)
	if match.HTTP {
		s.beginSecure(&a)
		return
	}
	t := newStream(s, a, match)
	t.report.Protocol, t.report.Scheme, t.report.Host = protocolTLS, protocolTLS, serverName
	s.beginStream(t)
}

// readHello reads until the ClientHello is there, and keeps what was read. It returns the
// server name, "" for one that is no name of a host.
func (a *arrival) readHello() (serverName string, err error) {
	buf := append(make([]byte, 0, max(firstHello, 2*len(a.unread))), a.unread...)
	for {
		hello, ok, err := clienthello.Parse(buf)
		a.unread = buf
		if err != nil {
			return "", err
		}
		if ok {
			return hostOfServer(hello.ServerName), nil
		}
		if len(buf) == cap(buf) {
			larger := make([]byte, len(buf), min(2*cap(buf), clienthello.MaxSize))
			copy(larger, buf)
			buf = larger
		}
		n, err := a.conn.Read(buf[len(buf):cap(buf)])
		if n == 0 {
			return "", err
		}
		buf = buf[:len(buf)+n]
	}
}

// hostOfServer is a server name as the Table has it.
func hostOfServer(name string) string {
	if strings.ContainsAny(name, ":[") { // a port or an address is none
		return ""
	}
	host, ok := router.NormalizeHost(name)
	if !ok {
		return ""
	}
	return host
}

// sendAlert tells a client of TLS why it is not served, before any handshake.
func sendAlert(conn net.Conn, description byte) {
	const alert, fatal = 21, 2
	_ = conn.SetWriteDeadline(time.Now().Add(closeTimeout))
	_, _ = conn.Write([]byte{alert, 3, 3, 0, 2, fatal, description})
}
