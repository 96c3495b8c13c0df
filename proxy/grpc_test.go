package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lintel-dev/lintel/router"
)

// rawCodec passes bytes, so that no messages need to be generated.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (rawCodec) Name() string                       { return "raw" }

// grpcBackend serves every method with one handler of streams.
func grpcBackend(t *testing.T, handler grpc.StreamHandler) *router.Backend {
	t.Helper()
	return serveGRPC(t, grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(handler), grpc.MaxRecvMsgSize(64<<20)))
}

// serveGRPC is a Backend at which a server is, until it is stopped or the test ends.
func serveGRPC(t *testing.T, server *grpc.Server) *router.Backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return h2cBackendAt(listener.Addr())
}

// grpcClient is a client connection through the gateway.
func (g *gateway) grpcClient() *grpc.ClientConn {
	g.t.Helper()
	creds := insecure.NewCredentials()
	if g.mode.tls {
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "app.test"})
	}
	conn, err := grpc.NewClient("passthrough:///app.test", grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", g.address())
		}),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return conn
}

// runGRPC runs a test with a gRPC client and server on either side of the gateway.
func runGRPC(t *testing.T, handler grpc.StreamHandler, test func(*testing.T, *gateway, *grpc.ClientConn)) {
	t.Helper()
	run(t, []mode{h2cMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		g.route("/", grpcBackend(t, handler))
		g.apply()
		test(t, g, g.grpcClient())
	})
}

// echoMessages answers each message with itself.
func echoMessages(_ any, stream grpc.ServerStream) error {
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(&message); err != nil {
			return err
		}
	}
}

func TestGRPCUnary(t *testing.T) {
	runGRPC(t, echoMessages, func(t *testing.T, _ *gateway, conn *grpc.ClientConn) {
		for _, size := range []int{0, 1, 1000, 100_000, 20 << 20} {
			sent, got := bytes.Repeat([]byte("x"), size), []byte(nil)
			if err := conn.Invoke(t.Context(), "/test.Echo/Say", &sent, &got); err != nil || !bytes.Equal(sent, got) {
				t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
			}
		}
	})
}

func TestGRPCStreamsBothWays(t *testing.T) {
	runGRPC(t, echoMessages, func(t *testing.T, _ *gateway, conn *grpc.ClientConn) {
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Echo/Chat")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			sent, got := []byte(fmt.Sprint("message ", i)), []byte(nil)
			if err := stream.SendMsg(&sent); err != nil {
				t.Fatal(err)
			}
			if err := stream.RecvMsg(&got); err != nil || !bytes.Equal(sent, got) {
				t.Fatalf("%q, %v", got, err)
			}
		}
		_ = stream.CloseSend()
		var rest []byte
		if err := stream.RecvMsg(&rest); err != io.EOF {
			t.Errorf("%v", err)
		}
	})
}

func TestGRPCMetadataAndErrors(t *testing.T) {
	handler := func(_ any, stream grpc.ServerStream) error {
		incoming, _ := metadata.FromIncomingContext(stream.Context())
		_ = stream.SetHeader(metadata.Pairs("x-head", strings.Join(incoming["x-ask"], ",")))
		stream.SetTrailer(metadata.Pairs("x-tail", "t", "x-bin", "\x00\xff"))
		return status.Error(codes.FailedPrecondition, "not yet: ä 100%")
	}
	runGRPC(t, handler, func(t *testing.T, _ *gateway, conn *grpc.ClientConn) {
		var head, tail metadata.MD
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-ask", "a", "x-ask", "b")
		in, out := []byte("x"), []byte(nil)
		err := conn.Invoke(ctx, "/test.Echo/Fail", &in, &out, grpc.Header(&head), grpc.Trailer(&tail))
		if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "not yet: ä 100%" {
			t.Errorf("%v", err)
		}
		if fmt.Sprint(tail["x-tail"], tail["x-bin"]) != "[t] [\x00\xff]" {
			t.Errorf("trailer %v", tail)
		}
		if fmt.Sprint(head["x-head"], tail["x-head"]) != "[] [a,b]" && fmt.Sprint(head["x-head"]) != "[a,b]" {
			t.Errorf("header %v", head)
		}
	})
}

func TestGRPCCancellation(t *testing.T) {
	arrived, gone := make(chan struct{}), make(chan struct{})
	handler := func(_ any, stream grpc.ServerStream) error {
		arrived <- struct{}{}
		<-stream.Context().Done()
		gone <- struct{}{}
		return stream.Context().Err()
	}
	runGRPC(t, handler, func(t *testing.T, _ *gateway, conn *grpc.ClientConn) {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Echo/Chat")
		if err != nil {
			t.Fatal(err)
		}
		<-arrived
		cancel()
		<-gone
		var got []byte
		if err := stream.RecvMsg(&got); status.Code(err) != codes.Canceled {
			t.Errorf("%v", err)
		}
	})
}

// What the gateway itself has to say comes as a status of gRPC.
func TestGRPCStatusOfOurAnswers(t *testing.T) {
	stalls := func(_ any, stream grpc.ServerStream) error {
		<-stream.Context().Done()
		return nil
	}
	runGRPC(t, stalls, func(t *testing.T, g *gateway, conn *grpc.ClientConn) {
		all := g.rules[0]
		all.Match.Path.Value = "/slow"
		all.Action.RequestTimeout = 50 * time.Millisecond
		g.route("/empty", router.NewBackend("default/none:80"))
		g.route("/dead", backendAt(deadAddress(t)))
		g.route("/nothing").Action.Backends = []router.WeightedBackend{{Weight: 1}}
		g.route("/denied").Action.Status = 403
		g.apply()
		for path, want := range map[string]codes.Code{
			"/slow/a":    codes.DeadlineExceeded,
			"/empty/a":   codes.Unavailable,
			"/dead/a":    codes.Unavailable,
			"/nothing/a": codes.Unavailable,
			"/denied/a":  codes.PermissionDenied,
			"/none/a":    codes.Unimplemented,
		} {
			in, out := []byte("x"), []byte(nil)
			if err := conn.Invoke(t.Context(), path, &in, &out); status.Code(err) != want {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}

// A server that breaks a stream off makes the client see an error by which it knows that
// it may try again, and no end.
func TestGRPCBrokenStream(t *testing.T) {
	run(t, []mode{h2cMode, h2Mode}, Settings{}, func(t *testing.T, g *gateway) {
		server := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			message := []byte("a part")
			_ = stream.SendMsg(&message)
			<-stream.Context().Done()
			return errors.New("gone")
		}))
		g.route("/", serveGRPC(t, server))
		g.apply()
		stream, err := g.grpcClient().NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/test.Echo/Chat")
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.CloseSend()
		var got []byte
		if err := stream.RecvMsg(&got); err != nil {
			t.Fatal(err)
		}
		server.Stop()
		if err := stream.RecvMsg(&got); status.Code(err) != codes.Unavailable {
			t.Errorf("%v", err)
		}
	})
}
