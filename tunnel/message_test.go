package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/cloudflare/cloudflared/tunnelrpc"
	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	rpcquic "github.com/cloudflare/cloudflared/tunnelrpc/quic"
	"github.com/google/uuid"
	capnp "zombiezen.com/go/capnproto2"
	"zombiezen.com/go/capnproto2/std/capnp/rpc"
)

// returned is the message that answers a call with an exception.
func returned(t testing.TB, question uint32) []byte {
	t.Helper()
	message, segment, err := capnp.NewMessage(capnp.SingleSegment(nil))
	if err != nil {
		t.Fatal(err)
	}
	root, _ := rpc.NewRootMessage(segment)
	answer, _ := root.NewReturn()
	answer.SetAnswerId(question)
	exception, _ := answer.NewException()
	if err := exception.SetReason("no"); err != nil {
		t.Fatal(err)
	}
	text, err := message.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestMessagesAreHandedOnAsTheyAre(t *testing.T) {
	text := bytes.Repeat(returned(t, 1), 3)
	got, err := io.ReadAll(&messages{from: bytes.NewReader(text), accept: acceptAnswer})
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes of %d, %v", len(got), len(text), err)
	}
}

func TestMalformedMessagesAreNot(t *testing.T) {
	good := returned(t, 1)
	outside := bytes.Clone(good)
	outside[8] = 0xfc // the root is behind the message
	for name, text := range map[string][]byte{
		"empty":         make([]byte, 8),
		"no struct":     append([]byte{0, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 8)...),
		"out of itself": outside,
		"huge":          {0, 0, 0, 0, 0, 0, 0, 1},
		"many segments": bytes.Repeat([]byte{0xff}, 16),
	} {
		got, err := io.ReadAll(&messages{from: bytes.NewReader(append(bytes.Clone(good), text...)), accept: acceptAnswer})
		if !errors.Is(err, errMalformed) || !bytes.Equal(got, good) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(good), err)
		}
	}
	if got, err := io.ReadAll(&messages{from: bytes.NewReader(good[:len(good)-1]), accept: acceptAnswer}); len(got) > 0 || errors.Is(err, errMalformed) {
		t.Errorf("one that ends too soon: %d bytes, %v", len(got), err)
	}
}

// said is a stream on which the edge says something, and hears nothing.
type said struct{ messages }

// Write implements io.Writer.
func (*said) Write(p []byte) (int, error) { return len(p), nil }

// Close implements io.Closer.
func (*said) Close() error { return nil }

// FuzzControlStream lets an edge say anything while a connection registers. The library must
// not panic, in whatever goroutine.
func FuzzControlStream(f *testing.F) {
	f.Add(make([]byte, 8))
	f.Add(returned(f, 0))
	f.Add(append(returned(f, 1), returned(f, 0)...))
	f.Add(recorded(f, func(stream io.ReadWriteCloser) {
		server := tunnelrpc.NewServerConn(tunnelrpc.SafeTransport(stream), pogs.RegistrationServer_ServerToClient(registrar{}).Client)
		<-server.Done()
	}, func(stream io.ReadWriteCloser) {
		client := tunnelrpc.NewRegistrationClient(context.Background(), stream, registerTimeout)
		if _, err := client.RegisterConnection(context.Background(), pogs.TunnelAuth{}, uuid.Nil, &pogs.ConnectionOptions{}, 0, nil); err != nil {
			f.Error(err)
		}
		client.Close()
	}))
	f.Fuzz(func(_ *testing.T, data []byte) {
		stream := &said{messages{from: bytes.NewReader(data), accept: acceptAnswer}}
		client := tunnelrpc.NewRegistrationClient(context.Background(), stream, registerTimeout)
		_, _ = client.RegisterConnection(context.Background(), pogs.TunnelAuth{}, uuid.Nil, &pogs.ConnectionOptions{}, 0, nil)
		client.Close()
	})
}

// registrar accepts every connection.
type registrar struct{}

func (registrar) RegisterConnection(context.Context, pogs.TunnelAuth, uuid.UUID, byte, *pogs.ConnectionOptions) (*pogs.ConnectionDetails, error) {
	return &pogs.ConnectionDetails{UUID: uuid.New(), Location: "here"}, nil
}

func (registrar) UnregisterConnection(context.Context) {}

func (registrar) UpdateLocalConfiguration(context.Context, []byte) error { return nil }

// recorded returns what the first side says to the second.
func recorded(f *testing.F, first, second func(io.ReadWriteCloser)) []byte {
	f.Helper()
	here, there := net.Pipe()
	ended := make(chan struct{})
	record := &recorder{Conn: here}
	go func() {
		defer close(ended)
		first(record)
	}()
	second(there)
	there.Close()
	<-ended
	record.mu.Lock()
	defer record.mu.Unlock()
	return bytes.Clone(record.said.Bytes())
}

type recorder struct {
	net.Conn
	mu   sync.Mutex
	said bytes.Buffer
}

// Write implements net.Conn.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said.Write(p)
	return r.Conn.Write(p)
}

// FuzzCallStream lets an edge say anything on a stream for its calls.
func FuzzCallStream(f *testing.F) {
	f.Add(make([]byte, 8))
	f.Add(recorded(f, func(stream io.ReadWriteCloser) {
		client, err := rpcquic.NewCloudflaredClient(context.Background(), stream, registerTimeout)
		if err != nil {
			f.Error(err)
			return
		}
		if _, err := client.UpdateConfiguration(context.Background(), 7, []byte("{}")); err != nil {
			f.Error(err)
		}
		client.Close()
	}, func(stream io.ReadWriteCloser) {
		serveCalls(stream, nil)
	})[6:])
	f.Fuzz(func(_ *testing.T, data []byte) {
		signature := []byte{0x52, 0xBB, 0x82, 0x5C, 0xDB, 0x65}
		serveCalls(&said{messages{from: bytes.NewReader(data), accept: acceptCall}}, signature)
	})
}

// serveCalls is what a connection over QUIC does with a stream, which begins with a signature.
func serveCalls(stream io.ReadWriteCloser, signature []byte) {
	connection := &quicConnection{link: &link{session: &session{}}}
	server := rpcquic.NewCloudflaredServer(nil, noSessions{}, connection, registerTimeout)
	_ = server.Serve(context.Background(), &signed{ReadWriteCloser: stream, Reader: io.MultiReader(bytes.NewReader(signature), stream)})
}

type signed struct {
	io.ReadWriteCloser
	io.Reader
}

// Read implements io.Reader.
func (s *signed) Read(p []byte) (int, error) { return s.Reader.Read(p) }
