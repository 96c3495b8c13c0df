package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// handshake does that of TLS, for connections that the loops don't take.
func (c *connection) handshake() error {
	// The read deadline bounds it; writing gets the same one.
	c.writeBy.extend(time.Now(), c.server.settings.ReadHeaderTimeout)
	conn := tls.Server(c.conn, c.socket.tls)
	if err := conn.HandshakeContext(context.Background()); err != nil {
		refusePlain(c.wire, err)
		return err
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol == challengeProtocol {
		return errChallenge
	}
	c.conn, c.alpn, c.client.ServerName = conn, state.NegotiatedProtocol, serverName(&state)
	return nil
}

// errChallenge says that a CA has seen what it wanted to.
var errChallenge = errors.New("nothing follows a challenge")

// serverName is what the client has named, in the form of hosts; "" for nothing.
func serverName(state *tls.ConnectionState) string {
	name, _ := router.NormalizeHost(state.ServerName)
	return name
}

// refusePlain tells a client that spoke HTTP to a TLS socket what it did.
func refusePlain(conn net.Conn, err error) {
	record, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || record.Conn == nil {
		return
	}
	for _, start := range []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO"} {
		if string(record.RecordHeader[:]) == start {
			_, _ = conn.Write([]byte(plainToTLS))
		}
	}
}

const plainToTLS = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n" +
	"Content-Length: 58\r\n\r\n400 Bad Request: this port speaks HTTPS, the request HTTP.\n"
