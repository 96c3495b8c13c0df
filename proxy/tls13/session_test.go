package tls13

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// openAll opens what a peer has sealed.
func openAll(s *Session, p []byte) (data []byte, records int, err error) {
	for len(p) > 0 {
		before := data
		var n int
		data, n, err = s.AppendOpen(data, p)
		if !bytes.Equal(before, data[:len(before)]) {
			return data, records, errors.New("dst has changed")
		}
		if err != nil {
			return data, records, err
		}
		if n == 0 {
			return data, records, io.ErrUnexpectedEOF
		}
		p, records = p[n:], records+1
	}
	return data, records, nil
}

// openInPlace is openAll through Open.
func openInPlace(s *Session, p []byte) (data []byte, err error) {
	for len(p) > 0 {
		d, n, err := s.Open(p)
		if err != nil {
			return data, err
		}
		data, p = append(data, d...), p[n:]
	}
	return data, nil
}

func TestSealOpen(t *testing.T) {
	for name, suite := range suites() {
		t.Run(name, func(t *testing.T) {
			server, client := pair(t, suite)
			random := rand.New(rand.NewPCG(1, 2))
			for size := range 200 {
				size *= size * 2
				plaintext := make([]byte, size)
				for i := range plaintext {
					plaintext[i] = byte(random.Uint32())
				}
				sealed := server.Seal([]byte("before"), plaintext)
				if len(sealed)-len("before") > SealedSize(size) {
					t.Fatalf("%d bytes became %d, more than SealedSize", size, len(sealed))
				}
				if !bytes.HasPrefix(sealed, []byte("before")) {
					t.Fatal("Seal does not append")
				}
				if got, _, err := openAll(client, sealed[6:]); err != nil || !bytes.Equal(got, plaintext) {
					t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
				}
				if got, err := openInPlace(server, client.Seal(nil, plaintext)); err != nil || !bytes.Equal(got, plaintext) {
					t.Fatalf("%d bytes in place: got %d, %v", size, len(got), err)
				}
			}
		})
	}
}

// The first records are short, later ones as long as can be.
func TestRecordSizes(t *testing.T) {
	server, client := pair(t, aes128)
	_, records, err := openAll(client, server.Seal(nil, make([]byte, 2*startRecords*startSize)))
	if want := startRecords + startRecords*startSize/MaxPlaintext; err != nil || records != want {
		t.Errorf("%d records, %v, want %d", records, err, want)
	}
}

// inner seals a record as it could come from a peer: content, type and padding.
func inner(s *Session, plaintext []byte) []byte {
	record := append(make([]byte, headerSize), plaintext...)
	if len(plaintext) == 0 {
		record[0], record[1], record[2], record[4] = 23, 3, 3, tagSize
		return s.out.aead.Seal(record, s.out.next(), nil, record)
	}
	last := len(record) - 1
	return s.out.seal(record[:last:last], 0, record[last])
}

func alertOf(err error) tls.AlertError {
	if wrong := (*ProtocolError)(nil); errors.As(err, &wrong) {
		return wrong.Alert
	}
	return 255
}

func TestOpenRefuses(t *testing.T) {
	keyUpdate := func(request byte) []byte { return []byte{24, 0, 0, 1, request, typeHandshake} }
	sealed := func(plaintexts ...[]byte) func(*Session) []byte {
		return func(client *Session) (p []byte) {
			for _, plaintext := range plaintexts {
				p = append(p, inner(client, plaintext)...)
			}
			return p
		}
	}
	raw := func(p ...byte) func(*Session) []byte { return func(*Session) []byte { return p } }
	padded := func(n int, end ...byte) []byte { return append(make([]byte, n), end...) }
	cases := map[string]struct {
		sent  func(client *Session) []byte
		alert tls.AlertError
	}{
		"plain alert":              {raw(21, 3, 3, 0, 2, 2, 40), alertUnexpectedMessage},
		"plain handshake":          {raw(22, 3, 3, 0, 1, 1), alertUnexpectedMessage},
		"late change_cipher_spec":  {raw(20, 3, 3, 0, 1, 1), alertUnexpectedMessage},
		"plain HTTP":               {raw([]byte("GET / HTTP/1.1\r\n")...), alertUnexpectedMessage},
		"record too long":          {raw(23, 3, 3, 0x41, 0x01), alertRecordOverflow},
		"empty record":             {raw(23, 3, 3, 0, 0), alertBadRecordMAC},
		"record shorter than tag":  {raw(append([]byte{23, 3, 3, 0, 15}, make([]byte, 15)...)...), alertBadRecordMAC},
		"forged record":            {raw(append([]byte{23, 3, 3, 0, 17}, make([]byte, 17)...)...), alertBadRecordMAC},
		"no content type":          {sealed(nil), alertUnexpectedMessage},
		"zeros alone":              {sealed(padded(100, 0)), alertUnexpectedMessage},
		"plaintext too long":       {sealed(padded(MaxPlaintext+1, 23)), alertRecordOverflow},
		"padding too long":         {sealed(append([]byte{1, 23}, make([]byte, MaxPlaintext)...)), alertRecordOverflow},
		"unknown content type":     {sealed([]byte{1, 2, 3, 99}), alertUnexpectedMessage},
		"sealed change_cipher":     {sealed([]byte{1, 20}), alertUnexpectedMessage},
		"empty alert":              {sealed([]byte{21}), alertDecodeError},
		"long alert":               {sealed([]byte{1, 0, 0, 21}), alertDecodeError},
		"empty handshake":          {sealed([]byte{22}), alertUnexpectedMessage},
		"new ticket":               {sealed([]byte{4, 0, 0, 0, 22}), alertUnexpectedMessage},
		"client hello":             {sealed([]byte{1, 0, 22}), alertUnexpectedMessage},
		"certificate":              {sealed([]byte{11, 22}), alertUnexpectedMessage},
		"finished":                 {sealed(padded(0, 20, 0, 0, 32, 22)), alertUnexpectedMessage},
		"end of early data":        {sealed([]byte{5, 0, 0, 0, 22}), alertUnexpectedMessage},
		"long key update":          {sealed([]byte{24, 0, 0, 2, 0, 0, 22}), alertDecodeError},
		"huge key update":          {sealed([]byte{24, 1, 0, 1, 22}), alertDecodeError},
		"unknown request":          {sealed(keyUpdate(2)), alertIllegalParameter},
		"two key updates":          {sealed([]byte{24, 0, 0, 1, 0, 24, 0, 0, 1, 0, 22}), alertUnexpectedMessage},
		"data in a key update":     {sealed([]byte{24, 0, 22}, []byte{'x', 23}), alertUnexpectedMessage},
		"alert in a key update":    {sealed([]byte{24, 0, 22}, []byte{1, 0, 21}), alertUnexpectedMessage},
		"old keys after an update": {sealed(keyUpdate(0), []byte{'x', 23}), alertBadRecordMAC},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server, client := pair(t, aes128)
			p := c.sent(client)
			data, _, err := openAll(server, p)
			if alertOf(err) != c.alert || len(data) > 0 {
				t.Fatalf("%q, %v, want alert %v", data, err, c.alert)
			}
			if _, _, again := server.Open(p); !errors.Is(again, err) {
				t.Errorf("then %v", again)
			}
			// The peer is told why.
			_, _, err = openAll(client, server.AppendClose(nil))
			if received := (*ReceivedAlert)(nil); !errors.As(err, &received) || received.Alert != c.alert {
				t.Errorf("peer got %v", err)
			}
			if end := server.AppendClose(nil); len(end) > 0 {
				t.Errorf("a second end: %x", end)
			}
			if late := server.Seal(nil, []byte("late")); len(late) > 0 {
				t.Errorf("data after the end: %x", late)
			}
		})
	}
}

func TestPadding(t *testing.T) {
	server, client := pair(t, aes128)
	for _, padding := range []int{0, 1, 255, MaxPlaintext - 4} {
		record := inner(client, append([]byte("data\x17"), make([]byte, padding)...))
		if data, n, err := server.Open(record); string(data) != "data" || n != len(record) || err != nil {
			t.Errorf("%d zeros: %q, %v", padding, data, err)
		}
	}
	longest := append(bytes.Repeat([]byte("x"), MaxPlaintext), typeApplicationData)
	if data, _, err := server.Open(inner(client, longest)); len(data) != MaxPlaintext || err != nil {
		t.Errorf("longest record: %d, %v", len(data), err)
	}
}

func TestClose(t *testing.T) {
	server, client := pair(t, aes128)
	if _, _, err := openAll(server, client.AppendClose(nil)); err != io.EOF {
		t.Fatal(err)
	}
	// The other direction is open still.
	if data, _, err := openAll(client, server.Seal(nil, []byte("response"))); string(data) != "response" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if _, _, err := openAll(client, server.AppendClose(nil)); err != io.EOF {
		t.Error(err)
	}
	if _, _, err := server.Open([]byte("whatever follows")); err != io.EOF {
		t.Error(err)
	}
}

func TestReceivedAlerts(t *testing.T) {
	server, client := pair(t, aes128)
	canceled := inner(client, []byte{levelWarning, byte(alertUserCanceled), typeAlert})
	if data, n, err := server.Open(canceled); len(data) > 0 || n != len(canceled) || err != nil {
		t.Errorf("user_canceled: %v", err)
	}
	// The level means nothing.
	_, _, err := server.Open(inner(client, []byte{levelWarning, 42, typeAlert}))
	var alert tls.AlertError
	if !errors.As(err, &alert) || alert != 42 {
		t.Fatal(err)
	}
	if end := server.AppendClose(nil); len(end) > 0 {
		t.Errorf("answered by %x", end)
	}
}

// Work without data is bounded in a row, not in all.
func TestIdleRecords(t *testing.T) {
	kinds := map[string]func(client *Session) []byte{
		"empty":    func(c *Session) []byte { return inner(c, []byte{typeApplicationData}) },
		"padding":  func(c *Session) []byte { return inner(c, append([]byte{typeApplicationData}, make([]byte, 99)...)) },
		"canceled": func(c *Session) []byte { return inner(c, []byte{1, byte(alertUserCanceled), typeAlert}) },
		"update":   func(c *Session) []byte { return c.appendKeyUpdate(nil) },
	}
	for name, record := range kinds {
		t.Run(name, func(t *testing.T) {
			server, client := pair(t, aes128)
			for range 3 {
				for range maxIdle {
					if _, _, err := openAll(server, record(client)); err != nil {
						t.Fatal(err)
					}
				}
				if _, _, err := openAll(server, client.Seal(nil, []byte("x"))); err != nil {
					t.Fatal(err)
				}
			}
			for range maxIdle {
				_, _, _ = openAll(server, record(client))
			}
			if _, _, err := openAll(server, record(client)); alertOf(err) != alertUnexpectedMessage {
				t.Error(err)
			}
		})
	}
}

func TestKeyUpdates(t *testing.T) {
	for name, suite := range suites() {
		t.Run(name, func(t *testing.T) {
			server, client := pair(t, suite)
			request := inner(client, []byte{24, 0, 0, 1, updateRequested, typeHandshake})
			client.out.update(suite)
			again := inner(client, []byte{24, 0, 0, 1, updateRequested, typeHandshake})
			client.out.update(suite)
			for _, p := range [][]byte{request, again} {
				if _, _, err := openAll(server, p); err != nil {
					t.Fatal(err)
				}
			}
			// One answer to both, before the next data.
			data, records, err := openAll(client, server.Seal(nil, []byte("down")))
			if string(data) != "down" || records != 2 || err != nil {
				t.Errorf("%q in %d records, %v", data, records, err)
			}
			data, records, err = openAll(client, server.Seal(nil, []byte("down")))
			if string(data) != "down" || records != 1 || err != nil {
				t.Errorf("then %q in %d records, %v", data, records, err)
			}
			data, _, err = openAll(server, client.Seal(nil, []byte("up")))
			if string(data) != "up" || err != nil {
				t.Errorf("%q, %v", data, err)
			}
		})
	}
}

// A handshake message may come in any pieces (RFC 8446 §5.1).
func TestKeyUpdateInPieces(t *testing.T) {
	server, client := pair(t, aes128)
	for _, b := range []byte{24, 0, 0, 1, updateNotRequested} {
		if _, _, err := openAll(server, inner(client, []byte{b, typeHandshake})); err != nil {
			t.Fatal(err)
		}
	}
	client.out.update(aes128)
	if data, _, err := openAll(server, client.Seal(nil, []byte("new keys"))); string(data) != "new keys" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
}

// Before the limits of the cipher are reached, the keys change.
func TestKeysAreUpdatedInTime(t *testing.T) {
	server, client := pair(t, aes128)
	server.out.sequence, client.in.sequence = maxSealed-1, maxSealed-1
	for i, want := range []int{1, 2, 1} {
		data, records, err := openAll(client, server.Seal(nil, []byte("data")))
		if string(data) != "data" || records != want || err != nil {
			t.Errorf("%d: %q in %d records, %v, want %d", i, data, records, err, want)
		}
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	for name, suite := range suites() {
		t.Run(name, func(t *testing.T) {
			server, client := pair(t, suite)
			plaintext := make([]byte, 3*MaxPlaintext)
			buf := make([]byte, 0, SealedSize(len(plaintext)))
			allocations := testing.AllocsPerRun(100, func() {
				p := server.Seal(buf, plaintext)
				for len(p) > 0 {
					_, n, err := client.Open(p)
					if err != nil {
						t.Fatal(err)
					}
					p = p[n:]
				}
			})
			if allocations > 0 {
				t.Errorf("%v allocations", allocations)
			}
		})
	}
}
