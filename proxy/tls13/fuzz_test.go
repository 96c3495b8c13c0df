package tls13

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzOpen sends anything to a session that works: nothing may panic, and no byte
// of data may come out that the peer has not sealed, in its place.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{}, 0)
	f.Add([]byte("GET / HTTP/1.1\r\n"), 1)
	f.Add([]byte{23, 3, 3, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 2)
	f.Add([]byte{23, 3, 3, 0x41, 0, 1}, 0)
	f.Add([]byte{21, 3, 3, 0, 2, 1, 0}, 0)
	f.Fuzz(func(t *testing.T, p []byte, valid int) {
		for name, suite := range suites() {
			server, client := pair(t, suite)
			var sealed []byte
			for range valid & 3 {
				sealed = client.Seal(sealed, []byte("data"))
			}
			want := bytes.Repeat([]byte("data"), valid&3)
			got, _, err := openAll(server, append(sealed, p...))
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: got %q, want %q", name, got, want)
			}
			checkEnd(t, server, client, err)
		}
	})
}

// FuzzOpenSealed sends any authentic records: a hostile peer's.
func FuzzOpenSealed(f *testing.F) {
	f.Add([]byte{4, 'd', 'a', 't', 'a', 23})
	f.Add([]byte{6, 24, 0, 0, 1, 1, 22, 2, 'x', 23})
	f.Add([]byte{3, 24, 0, 22, 4, 0, 1, 0, 22, 2, 'x', 23})
	f.Add([]byte{3, 1, 0, 21, 2, 'x', 23})
	f.Add([]byte{0, 3, 23, 0, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		server, client := pair(t, aes128)
		var want, got []byte
		for len(p) > 0 {
			size := min(int(p[0]), len(p)-1)
			plaintext := p[1 : 1+size]
			p = p[1+size:]
			data, records, err := openAll(server, inner(client, plaintext))
			got = append(got, data...)
			if err != nil {
				checkEnd(t, server, client, err)
				break
			}
			if records != 1 {
				t.Fatalf("%d records of 1", records)
			}
			content := bytes.TrimRight(plaintext, "\x00")
			last := len(content) - 1
			switch content[last] {
			case typeApplicationData:
				want = append(want, content[:last]...)
			case typeHandshake:
				if server.messageSize == 0 {
					client.out.update(aes128)
				}
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// checkEnd holds what is said to the peer at the end against the error.
func checkEnd(t *testing.T, server, client *Session, err error) {
	t.Helper()
	_, _, end := openAll(client, server.AppendClose(nil))
	var wrong *ProtocolError
	var received, told *ReceivedAlert
	switch {
	case errors.As(err, &wrong):
		if !errors.As(end, &told) || told.Alert != wrong.Alert {
			t.Fatalf("%v was told as %v", err, end)
		}
	case errors.As(err, &received):
		if end != nil {
			t.Fatalf("%v was answered by %v", err, end)
		}
	case end != io.EOF:
		t.Fatalf("%v was told as %v", err, end)
	}
}
