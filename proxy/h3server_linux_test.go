package proxy

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// An error of the kernel, after which quic-go reads no more from a socket, does not end HTTP/3.
func TestHTTP3OutlivesItsUDPSocket(t *testing.T) {
	g := newGateway(t, h3Mode, Settings{})
	g.route("/", rawBackend(t, answering(okResponse)))
	g.apply()
	before := g.dialH3()
	if answer := before.request(get()); answer.body != "ok" {
		t.Fatalf("%+v", answer)
	}
	failed := g.socket(socketName).h3.Load()
	fail := failingUDP(t, failed.port.conn)
	eventually(t, "another UDP socket is open", func() bool {
		fail() // again, as a write may have got the error in place of the read
		l := g.socket(socketName).h3.Load()
		return l != nil && l != failed
	})
	if answer := g.dialH3().request(get()); answer.body != "ok" {
		t.Errorf("%+v", answer)
	}
}

// failingUDP makes a socket one whose next read or write fails when the function that it returns
// was called: that sends something to where nobody listens.
func failingUDP(t *testing.T, conn *net.UDPConn) (fail func()) {
	t.Helper()
	nobody, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := nobody.LocalAddr().(*net.UDPAddr).AddrPort()
	_ = nobody.Close()
	wire, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var refused error
	err = wire.Control(func(fd uintptr) {
		refused = unix.Connect(int(fd), &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())})
	})
	if err != nil || refused != nil {
		t.Fatal(err, refused)
	}
	return func() {
		_ = wire.Control(func(fd uintptr) { _, _ = unix.Write(int(fd), []byte("x")) }) // until it is closed
	}
}
