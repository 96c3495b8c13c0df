package proxyprotocol

import (
	"bufio"
	"bytes"
	"net"
	"net/netip"
	"testing"

	peer "github.com/pires/go-proxyproto"
)

func seeds(f *testing.F) {
	for _, s := range []string{
		"", "PROXY UNKNOWN\r\n", "PROXY UNKNOWN a b\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\nrest",
		"PROXY TCP6 ::1 2001:db8::2 0 65535\r\n", "PROXY TCP4 01.2.3.4 5.6.7.8 9 10\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\n",
		v2(0x20, 0), v2(0x21, 0x11, block4), v2(0x21, 0x21, block6, "\x04\x00\x01x"), v2(0x21, 0x12, block4), v2(0x21, 0x32),
		summed(v2(0x21, 0x11, block4, vector(3, "\x00\x00\x00\x00"))), v2(0x21, 0x21, mapped6),
	} {
		f.Add([]byte(s))
	}
}

// However the bytes arrive, Parse says the same, and says it no later than when
// they are complete; bytes behind the header make no difference; and what it
// accepts can be written again in either version.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		n, h, err := Parse(p)
		if n < 0 || n > len(p) || n > MaxSize || n > 0 && err != nil {
			t.Fatalf("n = %d, %v", n, err)
		}
		if n == 0 && err == nil && len(p) >= MaxSize {
			t.Fatal("more than MaxSize bytes wanted")
		}
		if h.Source.IsValid() != h.Destination.IsValid() {
			t.Fatalf("one address is missing: %v", h)
		}
		for i := range p {
			m, g, early := Parse(p[:i])
			switch {
			case m == 0 && early == nil:
				if n > 0 && i >= n {
					t.Fatalf("%d bytes: more wanted, of %d", i, n)
				}
			case m != n || g != h || early != err: //nolint:errorlint // constants
				t.Fatalf("%d bytes: %d %v %v, all: %d %v %v", i, m, g, early, n, h, err)
			}
		}
		if n == 0 {
			return
		}
		for _, again := range [][]byte{AppendV1(nil, h), AppendV2(nil, h)} {
			if m, g, err := Parse(again); m != len(again) || g != h || err != nil {
				t.Fatalf("%v written as %q: %d %v %v", h, again, m, g, err)
			}
		}
	})
}

// Every address can be written and read back, unmapped and without its zone.
func FuzzAppend(f *testing.F) {
	f.Add("192.168.0.1", "192.168.0.11", uint16(56324), uint16(443))
	f.Add("fe80::1%eth0", "::ffff:1.2.3.4", uint16(0), uint16(65535))
	f.Fuzz(func(t *testing.T, source, destination string, from, to uint16) {
		a, errA := netip.ParseAddr(source)
		b, errB := netip.ParseAddr(destination)
		if errA != nil || errB != nil {
			return
		}
		want := Header{netip.AddrPortFrom(a.Unmap().WithZone(""), from), netip.AddrPortFrom(b.Unmap().WithZone(""), to)}
		h := Header{netip.AddrPortFrom(a, from), netip.AddrPortFrom(b, to)}
		v1, v2 := AppendV1(nil, h), AppendV2(nil, h)
		if len(v1) > maxV1 || len(v2) > fixedSize+ipv6Size {
			t.Fatalf("%d and %d bytes", len(v1), len(v2))
		}
		for _, p := range [][]byte{v1, v2} {
			if n, got, err := Parse(p); n != len(p) || got != want || err != nil {
				t.Fatalf("%q: %d %v %v", p, n, got, err)
			}
		}
	})
}

// What Parse accepts, a widely used parser accepts with the same addresses. The
// other way round it does not hold: that one lets more pass.
func FuzzAgainstGoProxyproto(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		n, h, err := Parse(p)
		if n == 0 || err != nil || !h.known() {
			return
		}
		in := bufio.NewReaderSize(bytes.NewReader(p), len(p)+MaxSize)
		theirs, err := peer.Read(in)
		if err != nil {
			t.Fatalf("%q: %v here, there %v", p, h, err)
		}
		if left := in.Buffered(); len(p)-left != n {
			t.Fatalf("%q: %d bytes here, there %d", p, n, len(p)-left)
		}
		if source, destination := addressOf(theirs.SourceAddr), addressOf(theirs.DestinationAddr); source != h.Source || destination != h.Destination {
			t.Fatalf("%q: %v here, there %v %v", p, h, source, destination)
		}
	})
}

func addressOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
