package tls13

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// errDry is what a stream returns that has nothing more at the moment.
var errDry = errors.New("nothing more")

// replay is a connection that reads what it was given, and swallows what is written.
type replay struct {
	net.Conn // used during the handshake
	ready    bool
	in       bytes.Reader
}

func (r *replay) Read(p []byte) (int, error) {
	if !r.ready {
		return r.Conn.Read(p)
	}
	n, _ := r.in.Read(p)
	if n == 0 {
		return 0, errDry
	}
	return n, nil
}

func (r *replay) Write(p []byte) (int, error) {
	if !r.ready {
		return r.Conn.Write(p)
	}
	return len(p), nil
}

// twins returns crypto/tls after its handshake, and for the same connection a
// Session and the Session of the client.
func twins(t testing.TB, config, clientConfig *tls.Config) (c *tls.Conn, wire *replay, server, client *Session) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	wire = &replay{Conn: near}
	r := &recorder{Conn: wire}
	var pool sync.Pool
	r.lend(&pool)
	c = tls.Server(r, NewServer(config.Clone()).config)
	done := make(chan error, 1)
	go func() { done <- tls.Client(far, clientConfig).Handshake() }()
	if err := errors.Join(c.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	state := c.ConnectionState()
	server = r.session(&state)
	size := suite(state.CipherSuite).hashSize()
	client, err := newSession(suite(state.CipherSuite), r.send.bytes[:size], r.receive.bytes[:size])
	if server == nil || err != nil {
		t.Fatal("no session", err)
	}
	r.finish(&pool)
	wire.ready = true
	return c, wire, server, client
}

// ending says how reading has ended.
func ending(err error) string {
	var received *ReceivedAlert
	var operation *net.OpError
	switch {
	case errors.Is(err, errDry):
		return "dry"
	case err == io.EOF:
		return "closed"
	case errors.As(err, &received):
		return received.Alert.Error()
	case errors.As(err, &operation) && operation.Op == "remote error":
		return operation.Err.Error()
	default:
		return "refused"
	}
}

// FuzzAgainstCryptoTLS sends what a client could send, honest or not, to a Session
// and to crypto/tls: both must read the same data and end the same way.
func FuzzAgainstCryptoTLS(f *testing.F) {
	f.Add([]byte{5, 'd', 'a', 't', 'a', 23, 3, 1, 0, 21})
	f.Add([]byte{6, 24, 0, 0, 1, 1, 22, 2, 'x', 23})
	f.Add([]byte{2, 24, 22, 2, 0, 22, 4, 0, 1, 0, 22, 2, 'x', 23})
	f.Add([]byte{3, 1, 90, 21, 1, 23, 2, 'x', 23, 3, 2, 42, 21})
	f.Add([]byte{4, 'x', 23, 0, 0, 2, 0, 0})
	f.Add([]byte{11, 24, 0, 0, 1, 0, 24, 0, 0, 1, 0, 22})
	f.Add(bytes.Repeat([]byte{6, 24, 0, 0, 1, 0, 22}, maxIdle+1))
	f.Add(bytes.Repeat([]byte{2, 0, 23}, 5))
	f.Add([]byte{2, 'x', 23, 255, 1})
	config, clientConfig := serverConfig(f)
	clientConfig.ClientSessionCache = nil
	f.Fuzz(func(t *testing.T, p []byte) {
		c, wire, server, client := twins(t, config, clientConfig)
		stream := clientStream(client, p)
		wire.in.Reset(stream)

		var want bytes.Buffer
		_, wantErr := io.Copy(&want, c)
		if wantErr == nil {
			wantErr = io.EOF
		}
		got, _, err := openAll(server, bytes.Clone(stream))
		if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errDry
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("got %q, %v, crypto/tls %q, %v", got, err, want.Bytes(), wantErr)
		}
		// A message that is refused anyway need not have come whole.
		early := ending(err) == "refused" && ending(wantErr) == "dry"
		if ending(err) != ending(wantErr) && !early {
			t.Fatalf("ended by %v, crypto/tls by %v", err, wantErr)
		}
	})
}

// clientStream makes records of p: each is a length, then content, type and
// padding. A length of 255 sends the rest as it is.
func clientStream(client *Session, p []byte) (stream []byte) {
	var message []byte
	for len(p) > 0 {
		size := min(int(p[0]), len(p)-1)
		if p[0] == 255 {
			raw := bytes.Clone(p[1:])
			copy(raw[min(1, len(raw)):], []byte{3, 3}) // what RFC 8446 §5.1 ignores, crypto/tls checks
			return append(stream, raw...)
		}
		plaintext := p[1 : 1+size]
		p = p[1+size:]
		content := bytes.TrimRight(plaintext, "\x00")
		if len(content) > 0 && content[len(content)-1] == 20 {
			continue // crypto/tls overlooks change_cipher_spec, which RFC 8446 §5 forbids
		}
		stream = append(stream, inner(client, plaintext)...)
		if len(content) == 0 || content[len(content)-1] != typeHandshake {
			message = nil
			continue
		}
		message = append(message, content[:len(content)-1]...)
		if len(message) == keyUpdateSize && bytes.HasPrefix(message, []byte{24, 0, 0, 1}) {
			client.out.update(client.suite)
			message = nil
		}
	}
	return stream
}
