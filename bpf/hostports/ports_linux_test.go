package hostports

import (
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

func TestConnectionsComeToWhatIsNotBound(t *testing.T) {
	for _, test := range places() {
		t.Run(test.name, func(t *testing.T) {
			p := inWorld(t)
			listener, err := p.ListenTCP(test.listen)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			for range 3 {
				accepts(t, listener, test.dial)
			}
			if _, err := dial(unix.SOCK_STREAM, "127.0.0.1:81"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("another port: %v", err)
			}
			// Nobody listens to the inner address.
			if conn, err := dial(unix.SOCK_STREAM, listener.Addr().String()); err == nil {
				t.Errorf("%v can be connected to", conn.RemoteAddr())
			}
			// A socket that is closed leaves the port to others.
			listener.Close()
			if _, err := dial(unix.SOCK_STREAM, test.dial); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("closed: %v", err)
			}
			accepts(t, bound(t, test.dial), test.dial)
		})
	}
}

func TestDatagramsComeToWhatIsNotBound(t *testing.T) {
	for _, test := range places() {
		t.Run(test.name, func(t *testing.T) {
			p := inWorld(t)
			conn, err := p.ListenUDP(test.listen)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst, true)
			if err := ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst, true); err != nil {
				t.Fatal(err)
			}
			client, err := dial(unix.SOCK_DGRAM, test.dial) // hears its peer alone
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			for _, word := range []string{"one", "two"} {
				if _, err := client.Write([]byte(word)); err != nil {
					t.Fatal(err)
				}
				answer(t, conn)
				buf := make([]byte, 16)
				if n, err := client.Read(buf); err != nil || string(buf[:n]) != word {
					t.Fatalf("the client of %s reads %q, %v", test.dial, buf[:n], err)
				}
			}
			conn.Close()
			_, _ = client.Write([]byte("three"))
			if _, err := client.Read(make([]byte, 16)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("closed: %v", err)
			}
		})
	}
}

// answer sends the next datagram back, from the address that it came to.
func answer(t *testing.T, conn *net.UDPConn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	buf, control := make([]byte, 16), make([]byte, 128)
	n, m, _, from, err := conn.ReadMsgUDPAddrPort(buf, control)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.WriteMsgUDPAddrPort(buf[:n], back(t, control[:m]), from); err != nil {
		t.Fatal(err)
	}
}

// back turns the control messages of a datagram into those of its answer.
func back(t *testing.T, control []byte) []byte {
	t.Helper()
	var v4 ipv4.ControlMessage
	if err := v4.Parse(control); err == nil && v4.Dst != nil {
		return (&ipv4.ControlMessage{Src: v4.Dst}).Marshal()
	}
	var v6 ipv6.ControlMessage
	if err := v6.Parse(control); err != nil || v6.Dst == nil {
		t.Fatalf("the datagram does not say where it was sent: %v", err)
	}
	return (&ipv6.ControlMessage{Src: v6.Dst}).Marshal()
}

// The socket of one process goes on in another when the first ends, and nobody is refused:
// what waits in its queue is served too.
func TestASocketIsHandedOn(t *testing.T) {
	first := inWorld(t)
	listener, err := first.ListenTCP(":80")
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := dial(unix.SOCK_STREAM, "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	file, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	adopted, err := net.FileListener(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer adopted.Close()
	second := open(t)
	wire, err := adopted.(*net.TCPListener).SyscallConn()
	if err == nil {
		err = second.Adopt("tcp", ":80", wire)
	}
	if err != nil {
		t.Fatal(err)
	}
	both, err := adopted.Accept()
	if err != nil {
		t.Fatal(err)
	}
	both.Close()
	accepts(t, adopted, "127.0.0.1:80") // both are attached
	listener.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	accepts(t, adopted, "127.0.0.1:80")
	accepts(t, adopted, "[::1]:80")
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(unix.SOCK_STREAM, "127.0.0.1:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody is attached: %v", err)
	}
}

// Somebody who has a port keeps it; who has not gets it when it is free.
func TestNothingIsTakenFromWhoIsBound(t *testing.T) {
	for _, test := range []struct{ name, bound, wanted string }{
		{"the same", ":80", ":80"},
		{"one of all", "127.0.0.1:80", ":80"},
		{"one of all, IPv6", "[::1]:80", ":80"},
		{"all, where one is wanted", ":80", "127.20.0.1:80"},
		{"all, where one of IPv6 is wanted", ":80", "[2001:db8::1]:80"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := inWorld(t)
			other := bound(t, test.bound)
			_, err := p.ListenTCP(test.wanted)
			if !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatalf("listen: %v", err)
			}
			for _, part := range []string{test.wanted + "/tcp", "process ", "(hostports.test)"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not name %q", err, part)
				}
			}
			other.Close()
			listener, err := p.ListenTCP(test.wanted)
			if err != nil {
				t.Fatal(err)
			}
			listener.Close()
		})
	}
}

func TestOthersWhoAreBoundElsewhereAreNoConflict(t *testing.T) {
	p := inWorld(t)
	bound(t, ":81")
	bound(t, "127.20.0.2:80")
	for _, address := range []string{"127.20.0.1:80", "[2001:db8::1]:80"} {
		listener, err := p.ListenTCP(address)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
	}
	conn, err := p.ListenUDP(":81")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	datagrams, err := net.ListenPacket("udp", ":53")
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	if _, err := p.ListenUDP("127.20.0.1:53"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a UDP socket is bound: %v", err)
	}
}

// Another Lintel, which is not bound either, is somebody else.
func TestAnotherLintelKeepsItsPorts(t *testing.T) {
	first := inWorld(t)
	second := open(t)
	for _, pair := range [][2]string{{":80", ":80"}, {":81", "127.20.0.1:81"}, {"[2001:db8::1]:82", ":82"}, {"127.20.0.1:83", "127.20.0.1:83"}} {
		listener, err := first.ListenTCP(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		conn, err := first.ListenUDP(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := second.ListenTCP(pair[1]); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s beside %s: %v", pair[1], pair[0], err)
		}
		if _, err := second.ListenUDP(pair[1]); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%s beside %s over UDP: %v", pair[1], pair[0], err)
		}
	}
	listener, err := second.ListenTCP("127.20.0.2:83")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if said, err := Active(); err != nil || !strings.HasPrefix(said, "8 sockets") {
		t.Errorf("active: %q, %v", said, err)
	}
}

// Nobody keeps others from binding what is received for; but they are known.
func TestWhoBindsLaterIsNamed(t *testing.T) {
	p := inWorld(t)
	for _, address := range []string{":80", "127.20.0.1:81", "[2001:db8::1]:82"} {
		listener, err := p.ListenTCP(address)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
	}
	bound(t, "127.20.0.2:81")
	if starved, err := p.Starved(); err != nil || len(starved) != 0 {
		t.Errorf("starved: %v, %v", starved, err)
	}
	var want []string
	for _, address := range []string{"127.0.0.1:80", "[2001:db8::1]:82"} {
		bound(t, address)
		want = append(want, address+"/tcp")
	}
	starved, err := p.Starved()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range starved {
		got = append(got, c.Place)
		if !strings.HasPrefix(c.Holder, "process ") {
			t.Errorf("%s is of %q", c.Place, c.Holder)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("starved: %q, want %q", got, want)
	}
}

// Somebody who listens to the number of an inner socket is not in its way.
func TestInnerPortsMayBeTaken(t *testing.T) {
	p := inWorld(t)
	at, err := placeOf("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	bound(t, net.JoinHostPort("", strings.Split(at.inner().String(), ":")[1]))
	listener, err := p.ListenTCP(":80")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	accepts(t, listener, "127.0.0.1:80")
}

// A kernel without IPv6 has sockets of IPv4 alone; one where it is turned off has both.
func TestWithoutIPv6(t *testing.T) {
	for name, without := range map[string]func(*testing.T, *Ports){
		"not in the kernel": func(_ *testing.T, p *Ports) { p.family = unix.AF_INET },
		"turned off": func(t *testing.T, _ *Ports) {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := dial(unix.SOCK_STREAM, "[::1]:80"); errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatal("it is not turned off")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := inWorld(t)
			without(t, p)
			listener, err := p.ListenTCP(":80")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			accepts(t, listener, "127.0.0.1:80")
			accepts(t, listener, "127.9.9.9:80")
		})
	}
}

// A map that is full is told, and the others are received for.
func TestTheMapIsFull(t *testing.T) {
	p := inWorld(t)
	_ = p.objects.LtSockets.Close()
	small, err := ebpf.NewMap(&ebpf.MapSpec{Name: "lt_sockets", Type: ebpf.SockHash, KeySize: 24, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	p.objects.LtSockets = small
	first, err := p.ListenTCP("127.20.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := p.ListenTCP("127.20.0.2:80"); err == nil || !strings.Contains(err.Error(), "full with 1 addresses") {
		t.Errorf("got %v", err)
	}
}
