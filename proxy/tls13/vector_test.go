package tls13

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
)

// RFC 8448 §3, "Simple 1-RTT Handshake": the traffic secrets of the application
// and what follows from them. The server's record 0 is its session ticket.
const (
	rfcClientSecret = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
	rfcClientKey    = "17422dda596ed5d9acd890e3c63f5051"
	rfcClientIV     = "5b78923dee08579033e523d9"
	rfcServerSecret = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"
	rfcServerIV     = "cf782b88dd83549aadf1e984"

	rfcClientData = "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"
	rfcServerData = "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d"
	rfcClientEnd  = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"
	rfcServerEnd  = "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rfcPlaintext() []byte {
	p := make([]byte, 50)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}

func TestKeysOfRFC8448(t *testing.T) {
	var k keys
	if err := k.set(aes128, unhex(t, rfcClientSecret)); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(k.iv[:]); got != rfcClientIV {
		t.Errorf("client's iv %s, want %s", got, rfcClientIV)
	}
	key := make([]byte, 16)
	aes128.expandLabel(key, unhex(t, rfcClientSecret), "key")
	if got := hex.EncodeToString(key); got != rfcClientKey {
		t.Errorf("client's key %s, want %s", got, rfcClientKey)
	}
	if err := k.set(aes128, unhex(t, rfcServerSecret)); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(k.iv[:]); got != rfcServerIV {
		t.Errorf("server's iv %s, want %s", got, rfcServerIV)
	}
}

// The server of the RFC opens and seals byte for byte what is printed there.
func TestRecordsOfRFC8448(t *testing.T) {
	s, err := newSession(aes128, unhex(t, rfcClientSecret), unhex(t, rfcServerSecret))
	if err != nil {
		t.Fatal(err)
	}
	s.out.sequence = 1 // the ticket

	record := unhex(t, rfcClientData)
	data, n, err := s.Open(record)
	if err != nil || n != len(record) || !bytes.Equal(data, rfcPlaintext()) {
		t.Fatalf("Open: %x, %d, %v", data, n, err)
	}
	if got := s.Seal(nil, rfcPlaintext()); hex.EncodeToString(got) != rfcServerData {
		t.Errorf("Seal: %x, want %s", got, rfcServerData)
	}
	if _, _, err := s.Open(unhex(t, rfcClientEnd)); err != io.EOF {
		t.Errorf("client's close_notify: %v", err)
	}
	if got := s.AppendClose(nil); hex.EncodeToString(got) != rfcServerEnd {
		t.Errorf("AppendClose: %x, want %s", got, rfcServerEnd)
	}
}

// A record reads the same from any number of pieces, and nothing of it before.
func TestOpenInPieces(t *testing.T) {
	s, err := newSession(aes128, unhex(t, rfcClientSecret), unhex(t, rfcServerSecret))
	if err != nil {
		t.Fatal(err)
	}
	record := unhex(t, rfcClientData)
	for i := range record {
		if data, n, err := s.Open(record[:i]); len(data) > 0 || n != 0 || err != nil {
			t.Fatalf("%d bytes: %x, %d, %v", i, data, n, err)
		}
	}
	if data, _, err := s.Open(record); err != nil || !bytes.Equal(data, rfcPlaintext()) {
		t.Fatalf("%x, %v", data, err)
	}
}

// Each bit of a record is protected, those of the header too.
func TestOpenTamperedRecord(t *testing.T) {
	whole := unhex(t, rfcClientData)
	for bit := range len(whole) * 8 {
		s, err := newSession(aes128, unhex(t, rfcClientSecret), unhex(t, rfcServerSecret))
		if err != nil {
			t.Fatal(err)
		}
		record := append(bytes.Clone(whole), strings.Repeat("\x00", MaxRecord)...) // for a length that was changed
		record[bit/8] ^= 1 << (bit % 8)
		data, _, err := s.Open(record)
		var wrong *ProtocolError
		if len(data) > 0 || !errors.As(err, &wrong) {
			t.Fatalf("bit %d: %x, %v", bit, data, err)
		}
		if bit/8 >= headerSize && wrong.Alert != alertBadRecordMAC {
			t.Errorf("bit %d: alert %v", bit, wrong.Alert)
		}
		if _, _, again := s.Open(unhex(t, rfcClientData)); !errors.Is(again, err) {
			t.Errorf("bit %d: then %v", bit, again)
		}
	}
}

// What is derived is what the standard library derives, for every suite.
func TestExpandLabel(t *testing.T) {
	for name, suite := range suites() {
		secret := make([]byte, suite.hashSize())
		_, _ = rand.Read(secret)
		for _, c := range []struct {
			label string
			size  int
		}{{"key", 16}, {"key", 32}, {"iv", nonceSize}, {"traffic upd", suite.hashSize()}} {
			label := "tls13 " + c.label
			info := string(append([]byte{0, byte(c.size), byte(len(label))}, label...)) + "\x00"
			want, err := hkdf.Expand(sha256.New, secret, info, c.size)
			if suite == aes256 {
				want, err = hkdf.Expand(sha512.New384, secret, info, c.size)
			}
			got := make([]byte, c.size)
			suite.expandLabel(got, secret, c.label)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s of %d bytes: %x, want %x, %v", name, c.label, c.size, got, want, err)
			}
		}
	}
}
