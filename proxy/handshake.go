package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/lintel-dev/lintel/proxy/tls13"
	"github.com/lintel-dev/lintel/router"
)

// outcome is what became of a connection when its goroutine ends.
type outcome uint8

const (
	ended outcome = iota
	moved         // it is in the express lane now
)

// handshaken is a connection after its handshake: of TLS 1.3 when session is set, or
// else one that crypto/tls goes on with.
type handshaken struct {
	session  *tls13.Session
	unread   []byte // records
	conn     *tls.Conn
	protocol string // by ALPN; "" when the client named none
	name     string // that of the server, by SNI, as NormalizeHost gives it
}

// handshake does that of TLS.
func (c *connection) handshake() (*handshaken, error) {
	// The read deadline bounds it; writing gets the same one.
	c.writeBy.extend(time.Now(), c.server.settings.ReadHeaderTimeout)
	if c.server.loops == nil {
		conn := tls.Server(c.conn, c.socket.tls)
		err := conn.HandshakeContext(context.Background())
		c.refusePlain(err)
		state := conn.ConnectionState()
		return &handshaken{conn: conn, protocol: state.NegotiatedProtocol, name: serverName(&state)}, err
	}
	h, err := c.socket.handshakes.Handshake(context.Background(), c.conn)
	if err != nil {
		c.refusePlain(err)
		return nil, err
	}
	if b, ok := c.conn.(*behind); ok && h.Session != nil {
		h.Unread = append(h.Unread, b.unread...)
	}
	return &handshaken{
		session: h.Session, unread: h.Unread, conn: h.Conn, protocol: h.State.NegotiatedProtocol, name: serverName(&h.State),
	}, nil
}

// serverName is what the client has named, in the form of hosts; "" for nothing.
func serverName(state *tls.ConnectionState) string {
	name, _ := router.NormalizeHost(state.ServerName)
	return name
}

// settle goes on in the full lane after a handshake.
func (c *connection) settle(h *handshaken) {
	c.alpn, c.client.ServerName = h.protocol, h.name
	if h.session == nil {
		c.conn = h.conn
		return
	}
	c.conn = newSecureConn(c.wire, h.session, h.unread)
}

// refusePlain tells a client that spoke HTTP to a TLS socket what it did.
func (c *connection) refusePlain(err error) {
	record, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || record.Conn == nil {
		return
	}
	for _, start := range []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"} {
		if string(record.RecordHeader[:]) == start {
			_, _ = c.wire.Write([]byte(plainToTLS))
		}
	}
}

const plainToTLS = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n" +
	"Content-Length: 58\r\n\r\n400 Bad Request: this port speaks HTTPS, the request HTTP.\n"
