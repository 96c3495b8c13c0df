package proxyprotocol

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

// rest follows each header in the tests: it is never part of it.
const rest = "GET / HTTP/1.1\r\n"

func header(source, destination string) Header {
	return Header{Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination)}
}

var (
	over4 = header("192.168.0.1:56324", "192.168.0.11:443")
	over6 = header("[2001:db8::1]:1", "[2001:db8::2]:65535")
)

func TestParseV1(t *testing.T) {
	tests := []struct {
		line string // complete
		want Header
		err  error
	}{
		{"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", over4, nil},
		{"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", header("255.255.255.255:65535", "255.255.255.255:65535"), nil},
		{"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", header("0.0.0.0:0", "0.0.0.0:0"), nil},
		{"PROXY TCP6 2001:db8::1 2001:DB8:0:0::2 1 65535\r\n", over6, nil},
		{"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
			header("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"), nil},
		{"PROXY TCP6 ::ffff:192.168.0.1 ::ffff:c0a8:b 56324 443\r\n", over4, nil},
		{"PROXY UNKNOWN\r\n", Header{}, nil},
		{"PROXY UNKNOWN \r\n", Header{}, nil},
		{"PROXY UNKNOWN whatever\x00 the sender\ttells\r\n", Header{}, nil},
		{"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", Header{}, nil},

		{"GET / HTTP/1.1\r\n", Header{}, ErrSignature},
		{"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Header{}, ErrSignature},
		{"PROXY\tTCP4 1.1.1.1 2.2.2.2 1 2\r\n", Header{}, ErrSignature},
		{" PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Header{}, ErrSignature},
		{"PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Header{}, ErrProtocol},
		{"PROXY \r\n", Header{}, ErrProtocol},
		{"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n", Header{}, ErrProtocol},
		{"PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n", Header{}, ErrProtocol},
		{"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", Header{}, ErrProtocol},
		{"PROXY UNKNOWNS\r\n", Header{}, ErrProtocol},
		{"PROXY TCP4\r\n", Header{}, ErrFields},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", Header{}, ErrFields},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n", Header{}, ErrFields},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n", Header{}, ErrFields},
		{"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", Header{}, ErrFields},
		{"PROXY TCP4  2.2.2.2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP4 1.1.1.1 app.test 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP4 ::1 ::2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP4 1.1.1.1 ::2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP6 ::1%eth0 ::2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP6 [::1] ::2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP6 1::2::3 ::2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP6 00001::2 ::2 1 2\r\n", Header{}, ErrAddress},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n", Header{}, ErrPort},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 1 02\r\n", Header{}, ErrPort},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n", Header{}, ErrPort},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", Header{}, ErrPort},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 1 0x2\r\n", Header{}, ErrPort},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n", Header{}, ErrPort},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", Header{}, ErrLineEnd},
		{"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n", Header{}, ErrLineEnd},
		{"PROXY UNKNOWN a\nb\r\n", Header{}, ErrLineEnd},
		{"PROXY UNKNOWN a\rb\r\n", Header{}, ErrLineEnd},
		{"PROXY UNKNOWN " + strings.Repeat("x", maxV1), Header{}, ErrLong},
		{"PROXY UNKNOWN " + strings.Repeat("x", maxV1-15) + "\r\n", Header{}, ErrLong},
	}
	for _, test := range tests {
		expect(t, test.line, test.want, test.err)
	}
}

// expect checks what Parse says of a complete header with bytes behind it.
func expect(t *testing.T, complete string, want Header, wantErr error) {
	t.Helper()
	n, h, err := Parse([]byte(complete + rest))
	if wantErr != nil {
		complete = complete[:0]
	}
	if n != len(complete) || h != want || err != wantErr { //nolint:errorlint // Parse returns constants
		t.Errorf("%q:\n got %d %v %v\nwant %d %v %v", complete, n, h, err, len(complete), want, wantErr)
	}
}

// v2 makes a header of version 2 of any content.
func v2(command, family byte, parts ...string) string {
	content := strings.Join(parts, "")
	fixed := append([]byte(signatureV2), command, family)
	return string(binary.BigEndian.AppendUint16(fixed, uint16(len(content)))) + content
}

func vector(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// summed sets the checksum at the end of a header.
func summed(h string) string {
	p := []byte(h)
	binary.BigEndian.PutUint32(p[len(p)-4:], checksum(p, len(p)-4))
	return string(p)
}

const (
	block4 = "\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb"
	block6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\xff\xff"
	mapped6 = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\xa8\x00\x01" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\xa8\x00\x0b\xdc\x04\x01\xbb"
)

func TestParseV2(t *testing.T) {
	unix := strings.Repeat("/run/app.sock\x00", 16)[:unixSize]
	noop := vector(4, "padding")
	const zeros = "\x00\x00\x00\x00"
	tests := []struct {
		name     string
		complete string
		want     Header
		err      error
	}{
		{"TCP over IPv4", v2(0x21, 0x11, block4), over4, nil},
		{"TCP over IPv6", v2(0x21, 0x21, block6), over6, nil},
		{"IPv4 in IPv6", v2(0x21, 0x21, mapped6), over4, nil},
		{"vectors", v2(0x21, 0x11, block4, vector(1, "h2"), vector(2, "app.test"), vector(0x20, "\x01"+zeros), vector(0xff, "")), over4, nil},
		{"checksum", summed(v2(0x21, 0x11, block4, noop, vector(3, zeros))), over4, nil},
		{"checksum over IPv6", summed(v2(0x21, 0x21, block6, vector(3, zeros))), over6, nil},
		{"LOCAL", v2(0x20, 0), Header{}, nil},
		{"LOCAL with addresses", v2(0x20, 0x11, block4), Header{}, nil},
		{"LOCAL with anything", v2(0x20, 0xff, "anything"), Header{}, nil},
		{"UNSPEC", v2(0x21, 0), Header{}, nil},
		{"UNSPEC with anything", v2(0x21, 0, "anything"), Header{}, nil},
		{"UDP over IPv4", v2(0x21, 0x12, block4), Header{}, nil},
		{"UDP over IPv6", v2(0x21, 0x22, block6), Header{}, nil},
		{"unspecified over IPv4", v2(0x21, 0x10, block4), Header{}, nil},
		{"UNIX stream", v2(0x21, 0x31, unix), Header{}, nil},
		{"UNIX datagram", v2(0x21, 0x32, unix, noop), Header{}, nil},
		{"as long as allowed", v2(0x21, 0x11, block4, vector(4, strings.Repeat("x", MaxSize-fixedSize-ipv4Size-3))), over4, nil},

		{"other version", v2(0x11, 0x11, block4), Header{}, ErrVersion},
		{"other command", v2(0x22, 0x11, block4), Header{}, ErrCommand},
		{"other family", v2(0x21, 0x41, block4), Header{}, ErrFamily},
		{"other transport", v2(0x21, 0x13, block4), Header{}, ErrFamily},
		{"IPv4 cut", v2(0x21, 0x11, block4[1:]), Header{}, ErrShort},
		{"IPv6 cut", v2(0x21, 0x21, block6[1:]), Header{}, ErrShort},
		{"UNIX cut", v2(0x21, 0x31, unix[1:]), Header{}, ErrShort},
		{"too long", v2(0x21, 0x11, block4, vector(4, strings.Repeat("x", MaxSize-fixedSize-ipv4Size-2))), Header{}, ErrLong},
		{"LOCAL too long", v2(0x20, 0, strings.Repeat("x", MaxSize)), Header{}, ErrLong},
		{"vector without length", v2(0x21, 0x11, block4, "\x04\x00"), Header{}, ErrTLV},
		{"vector cut", v2(0x21, 0x11, block4, noop[:len(noop)-1]), Header{}, ErrTLV},
		{"vector behind UNIX cut", v2(0x21, 0x31, unix, noop[:len(noop)-1]), Header{}, ErrTLV},
		{"wrong checksum", v2(0x21, 0x11, block4, vector(3, "\x01\x02\x03\x04")), Header{}, ErrChecksum},
		{"wrong checksum of UDP", v2(0x21, 0x12, block4, vector(3, zeros)), Header{}, ErrChecksum},
		{"short checksum", v2(0x21, 0x11, block4, vector(3, "\x01\x02\x03")), Header{}, ErrTLV},
		{"two checksums", summed(v2(0x21, 0x11, block4, vector(3, zeros), vector(3, zeros))), Header{}, ErrChecksum},
		{"signature alone differs", "\r\n\r\n\x00\r\nQUIT\r" + rest, Header{}, ErrSignature},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Header{}, ErrSignature},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { expect(t, test.complete, test.want, test.err) })
	}
}

// A header that was changed on its way is told by its checksum, whatever byte it is
// but the type of the checksum itself.
func TestChecksumCoversEveryByte(t *testing.T) {
	good := summed(v2(0x21, 0x11, block4, vector(4, "padding"), vector(3, "\x00\x00\x00\x00")))
	for i := fixedSize; i < len(good); i++ {
		if i == len(good)-7 {
			continue
		}
		changed := []byte(good)
		changed[i] ^= 0x10
		if n, _, err := Parse(changed); n != 0 || err == nil {
			t.Errorf("byte %d changed: accepted", i)
		}
	}
}

// What HAProxy 2.6 sends with send-proxy, and with send-proxy-v2 and its options
// crc32c, unique-id, authority and ssl.
func TestParseWhatHAProxySends(t *testing.T) {
	expect(t, "\r\n\r\n\x00\r\nQUIT\n!\x11\x00-\x7f\x00\x00\x01\x7f\x00\x00\x01\xbc\x8eo7\x03\x00\x04\xd3e\xcbO"+
		"\x05\x00\x0f11089-127.0.0.1 \x00\x05\x00\x00\x00\x00\x00", header("127.0.0.1:48270", "127.0.0.1:28471"), nil)
	const loopback6 = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	expect(t, "\r\n\r\n\x00\r\nQUIT\n!!\x00+"+loopback6+loopback6+"\xd5\x10o9\x03\x00\x04\xbc\xf8\xfec",
		header("[::1]:54544", "[::1]:28473"), nil)
	expect(t, "PROXY TCP4 127.0.0.1 127.0.0.1 48076 28474\r\n", header("127.0.0.1:48076", "127.0.0.1:28474"), nil)
	expect(t, "PROXY TCP6 ::1 ::1 54972 28475\r\n", header("[::1]:54972", "[::1]:28475"), nil)
}

func TestAppend(t *testing.T) {
	tests := []struct {
		name   string
		header Header
		v1, v2 string
	}{
		{"IPv4", over4, "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", v2(0x21, 0x11, block4)},
		{"IPv6", over6, "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", v2(0x21, 0x21, block6)},
		{"mapped", header("[::ffff:192.168.0.1]:56324", "192.168.0.11:443"),
			"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", v2(0x21, 0x11, block4)},
		{"zones", header("[fe80::1%eth0]:1", "[fe80::2%eth0]:2"), "PROXY TCP6 fe80::1 fe80::2 1 2\r\n",
			v2(0x21, 0x21, "\xfe\x80", strings.Repeat("\x00", 13), "\x01\xfe\x80", strings.Repeat("\x00", 13), "\x02\x00\x01\x00\x02")},
		{"both families", Header{over4.Source, over6.Destination},
			"PROXY TCP6 ::ffff:192.168.0.1 2001:db8::2 56324 65535\r\n",
			v2(0x21, 0x21, mapped6[:16], block6[16:32], "\xdc\x04\xff\xff")},
		{"unknown", Header{}, "PROXY UNKNOWN\r\n", v2(0x20, 0)},
		{"no destination", Header{Source: over4.Source}, "PROXY UNKNOWN\r\n", v2(0x20, 0)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := string(AppendV1([]byte("x"), test.header)); got != "x"+test.v1 {
				t.Errorf("version 1:\n got %q\nwant %q", got, "x"+test.v1)
			}
			if got := string(AppendV2([]byte("x"), test.header)); got != "x"+test.v2 {
				t.Errorf("version 2:\n got %q\nwant %q", got, "x"+test.v2)
			}
		})
	}
}
