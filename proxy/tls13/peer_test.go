package tls13

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
)

// connected returns both ends of a connection that was handed over.
func connected(t *testing.T) (a accepted, client *tls.Conn) {
	t.Helper()
	server, config := serverConfig(t)
	l := listen(t, server, nil)
	client = l.dial(t, config)
	if a = l.next(t); a.Session == nil {
		t.Fatalf("not handed over: %v", a.outcome())
	}
	return a, client
}

// A client of crypto/tls follows our key updates.
func TestClientFollowsKeyUpdates(t *testing.T) {
	a, client := connected(t)
	a.Session.owesUpdate = true
	done := make(chan error, 1)
	go func() { done <- echo(a.Conn) }()
	exchange(t, client, make([]byte, 100<<10))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// tampering changes the last byte of what is written, once it is on.
type tampering struct {
	net.Conn
	on bool
}

func (c *tampering) Write(p []byte) (int, error) {
	if c.on {
		p = bytes.Clone(p)
		p[len(p)-1] ^= 1
	}
	return c.Conn.Write(p)
}

// A record that was changed on the way reaches nobody, and the client gets an alert.
func TestTamperedRecordIsAnswered(t *testing.T) {
	server, config := serverConfig(t)
	l := listen(t, server, nil)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wire := &tampering{Conn: conn}
	client := tls.Client(wire, config)
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	a := l.next(t)
	if a.Session == nil {
		t.Fatal(a.outcome())
	}
	done := make(chan error, 1)
	go func() { done <- echo(a.Conn) }()
	wire.on = true
	if _, err := client.Write([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	_, err = client.Read(make([]byte, 1))
	var remote *net.OpError
	if !errors.As(err, &remote) || remote.Err.Error() != alertBadRecordMAC.Error() {
		t.Errorf("client got %v", err)
	}
	if err := <-done; alertOf(err) != alertBadRecordMAC {
		t.Errorf("server got %v", err)
	}
}

// A stream that ends without a close_notify may have been cut.
func TestTruncation(t *testing.T) {
	a, client := connected(t)
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	client.NetConn().Close()
	buf := make([]byte, 4)
	if n, err := a.Read(buf); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := a.Read(buf); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}
