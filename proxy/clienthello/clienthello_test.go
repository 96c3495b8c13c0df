package clienthello

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// wire is a connection that brings what it was made with, and forgets what it is sent.
type wire struct {
	in   io.Reader
	sent bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error)       { return w.in.Read(p) }
func (w *wire) Write(p []byte) (int, error)      { return w.sent.Write(p) }
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return nil }
func (w *wire) RemoteAddr() net.Addr             { return nil }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// helloOf is what a client of crypto/tls begins with.
func helloOf(config *tls.Config) []byte {
	w := &wire{in: strings.NewReader("")}
	config.InsecureSkipVerify = true
	_ = tls.Client(w, config).Handshake()
	return w.sent.Bytes()
}

// asServer is what crypto/tls reads out of p; nil when it refuses it.
func asServer(p []byte) *Hello {
	var h *Hello
	_ = tls.Server(&wire{in: bytes.NewReader(p)}, &tls.Config{
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			h = &Hello{info.ServerName, info.SupportedProtos}
			return nil, errors.New("enough")
		},
	}).Handshake()
	return h
}

// split puts a message of one record into records of size bytes.
func split(p []byte, size int) []byte {
	var out []byte
	for piece := range slices.Chunk(p[headerSize:], size) {
		out = binary.BigEndian.AppendUint16(append(out, typeHandshake, 3, 1), uint16(len(piece)))
		out = append(out, piece...)
	}
	return out
}

func hellos() map[string][]byte {
	return map[string][]byte{
		"post-quantum":   helloOf(&tls.Config{ServerName: "www.example.com", NextProtos: []string{"h2", "http/1.1"}}),
		"classic":        helloOf(&tls.Config{ServerName: "Mixed.Example.com", CurvePreferences: []tls.CurveID{tls.X25519}}),
		"TLS 1.2":        helloOf(&tls.Config{ServerName: "a.test", MaxVersion: tls.VersionTLS12}),
		"no server name": helloOf(&tls.Config{}),
		"an address":     helloOf(&tls.Config{ServerName: "127.0.0.1"}),
		"protocols":      helloOf(&tls.Config{ServerName: "a.test", NextProtos: []string{"imap", "x"}}),
	}
}

func TestParseReadsWhatCryptoTLSReads(t *testing.T) {
	for name, p := range hellos() {
		want := asServer(p)
		if want == nil {
			t.Fatalf("%s: crypto/tls refuses it", name)
		}
		for how, p := range map[string][]byte{
			"as it is": p, "and more": append(slices.Clone(p), "early data"...),
			"in records of 100": split(p, 100), "in records of 1": split(p, 1),
		} {
			got, ok, err := Parse(p)
			if err != nil || !ok || got.ServerName != want.ServerName || !slices.Equal(got.ALPN, want.ALPN) {
				t.Errorf("%s, %s: got %+v, %t, %v; want %+v", name, how, got, ok, err, *want)
			}
		}
	}
}

func TestParseWaitsForTheWhole(t *testing.T) {
	for name, p := range hellos() {
		for _, p := range [][]byte{p, split(p, 50)} {
			for n := range p {
				if _, ok, err := Parse(p[:n]); ok || err != nil {
					t.Fatalf("%s: after %d of %d bytes: %t, %v", name, n, len(p), ok, err)
				}
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	long := append([]byte{typeHandshake, 3, 1, 0x40, 0, typeHello, 0, 0x40, 0}, make([]byte, MaxSize)...)
	drip := split(append(make([]byte, headerSize), append([]byte{typeHello, 0, 0x20, 0}, make([]byte, 0x2000)...)...), 1)
	good := helloOf(&tls.Config{ServerName: "a.test"})
	cut := slices.Clone(good)
	cut[8] -= 10 // the message is shorter than what is in it
	for name, test := range map[string]struct {
		p    []byte
		want Error
	}{
		"HTTP":          {[]byte("GET / HTTP/1.1\r\n"), ErrUnexpected},
		"SSH":           {[]byte("SSH-2.0-x\r\n"), ErrUnexpected},
		"SSL 2.0":       {[]byte{0x80, 0x2e, 1, 3, 1}, ErrVersion},
		"an alert":      {[]byte{21, 3, 1, 0, 2, 1, 0}, ErrUnexpected},
		"a ServerHello": {[]byte{typeHandshake, 3, 1, 0, 5, 2, 0, 0, 1, 0}, ErrUnexpected},
		"too long":      {long, ErrLong},
		"endless":       {drip[:MaxSize], ErrLong},
		"much too long": {[]byte{typeHandshake, 3, 1, 0, 5, typeHello, 0xff, 0xff, 0xff, 0}, ErrLong},
		"cut short":     {cut, ErrMalformed},
		"empty records": {[]byte{typeHandshake, 3, 1, 0, 0}, ErrUnexpected},
	} {
		if _, ok, err := Parse(test.p); ok || !errors.Is(err, test.want) {
			t.Errorf("%s: %t, %v; want %v", name, ok, err, test.want)
		}
	}
}

// FuzzParse holds that Parse takes what crypto/tls takes, and reads the same in it.
func FuzzParse(f *testing.F) {
	for _, p := range hellos() {
		f.Add(p)
		f.Add(split(p, 70))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		got, ok, err := Parse(p)
		if len(p) > MaxSize {
			return
		}
		want := asServer(p)
		switch {
		case want == nil:
		case err != nil || !ok:
			t.Fatalf("%t, %v; crypto/tls reads %+v", ok, err, *want)
		case got.ServerName != want.ServerName || !slices.Equal(got.ALPN, want.ALPN):
			t.Fatalf("got %+v, crypto/tls reads %+v", got, *want)
		}
	})
}
