package tls13

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"
)

// Server does the handshakes of one configuration. Its methods are safe for
// concurrent use.
type Server struct {
	config    *tls.Config
	scratches sync.Pool // of *scratch
}

// NewServer takes config over: it replaces GetConfigForClient by a function that
// also calls the one that was there. Afterwards only SetSessionTicketKeys may be
// called, at any time. Without it crypto/tls makes ticket keys and changes them
// every day. In both cases a ticket of any connection resumes on any other of the
// same Server. A KeyLogWriter goes on to get every line.
//
// The callbacks of config see a wrapper as their hello's Conn; it has a method
// NetConn that returns the connection that Handshake was given.
//
// A config belongs to one Server; it may also be used with crypto/tls directly.
func NewServer(config *tls.Config) *Server {
	choose := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		var chosen *tls.Config
		if choose != nil {
			var err error
			if chosen, err = choose(hello); err != nil {
				return nil, err
			}
		}
		r, ok := hello.Conn.(*recorder)
		if !ok || !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
			return chosen, nil
		}
		if chosen == nil {
			chosen = config
		}
		// crypto/tls takes ticket keys from the copy only where they were set;
		// keys that it makes itself stay with config.
		chosen = chosen.Clone()
		chosen.KeyLogWriter = keyLog{recorder: r, next: chosen.KeyLogWriter}
		return chosen, nil
	}
	return &Server{config: config}
}

// Handshake is the outcome of a handshake: either Session or Conn is set.
type Handshake struct {
	// State is that of the connection: protocol, server name, certificates.
	State tls.ConnectionState

	// Session goes on with the connection that Server.Handshake was given, from
	// where crypto/tls has left it.
	Session *Session
	// Unread is what the client has sent behind its handshake and what Session
	// must open before anything else; nil if nothing. It is the caller's now.
	Unread []byte

	// Conn goes on instead, when a Session can't. Its NetConn is a wrapper that
	// holds what was read ahead, so the connection beneath must not be read from.
	Conn *tls.Conn
}

// GoOn makes conn what lies beneath Conn, which it returns, from now on. Both lead to the
// same client.
func (h *Handshake) GoOn(conn net.Conn) *tls.Conn {
	if r, ok := h.Conn.NetConn().(*recorder); ok {
		r.Conn = conn
	}
	return h.Conn
}

// Handshake does the server's part of a handshake on conn, and blocks meanwhile:
// deadlines are those that the caller has set on conn. When ctx ends first, it
// closes conn and returns an error that wraps ctx's. After an error conn is
// useless, and the caller closes it; a client that did not speak TLS at all makes
// a [tls.RecordHeaderError].
func (s *Server) Handshake(ctx context.Context, conn net.Conn) (Handshake, error) {
	r := &recorder{Conn: conn}
	r.lend(&s.scratches)
	defer r.finish(&s.scratches)
	c := tls.Server(r, s.config)
	if err := c.HandshakeContext(ctx); err != nil {
		return Handshake{}, fmt.Errorf("do handshake: %w", err)
	}
	h := Handshake{State: c.ConnectionState()}
	if h.Session = r.session(&h.State); h.Session == nil {
		h.Conn = c
		return h, nil
	}
	h.Unread = r.takeUnread()
	return h, nil
}

// session returns the Session that goes on, or nil when something is not as it
// must be.
func (r *recorder) session(state *tls.ConnectionState) *Session {
	suite := suite(state.CipherSuite)
	size := suite.hashSize()
	switch {
	case !state.HandshakeComplete, state.Version != tls.VersionTLS13, size == 0:
		return nil
	case r.receive.bad, r.send.bad, r.receive.size != size, r.send.size != size:
		return nil
	case !r.framer.between():
		return nil
	}
	session, err := newSession(suite, r.receive.bytes[:size], r.send.bytes[:size])
	if err != nil || !session.out.skip(r.sent) {
		return nil
	}
	return session
}

// skip counts the records that were sent with the keys already, at the end of
// sent, which is overwritten. It tells whether they are as they must be: after
// the first that is authentic all are.
func (k *keys) skip(sent []byte) bool {
	for len(sent) > 0 {
		if len(sent) < headerSize {
			return false
		}
		n := headerSize + int(binary.BigEndian.Uint16(sent[3:]))
		if len(sent) < n {
			return false
		}
		ours := false
		if sent[0] == typeApplicationData {
			_, err := k.open(sent[headerSize:headerSize], sent[:n])
			ours = err == nil
		}
		if !ours && k.sequence > 0 {
			return false
		}
		sent = sent[n:]
	}
	return true
}
