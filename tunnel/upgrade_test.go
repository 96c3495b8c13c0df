package tunnel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lintel-dev/lintel/router"
	"github.com/lintel-dev/lintel/tunnel"
)

// The key of a WebSocket and the answer to it (RFC 6455 §1.3).
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// serveEcho adds a Rule to an origin that agrees to WebSockets and echoes their bytes.
func (s *site) serveEcho(prefix string) {
	s.serve(prefix, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-WebSocket-Key") != sampleKey {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			s.t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\nX-Extra: 1\r\n\r\n", sampleAccept)
		_, _ = io.Copy(conn, buffered)
	})
}

// webSocket opens one, of which Close is all that has to be done.
func (s *site) webSocket(path string) io.ReadWriteCloser {
	s.t.Helper()
	req, _ := http.NewRequest(http.MethodGet, "https://app.example.com"+path, nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	req.Header.Set("Sec-WebSocket-Key", sampleKey)
	res, err := s.edge.RoundTripper(s.tunnel).RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	body, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok || res.Header.Get("Sec-Websocket-Accept") != sampleAccept || res.Header.Get("X-Extra") != "1" {
		s.t.Fatalf("%s %v", res.Status, res.Header)
	}
	return body
}

// pingPong sends texts of growing sizes, and reads each back.
func pingPong(t testing.TB, conn io.ReadWriter) {
	t.Helper()
	for size := 1; size <= 1<<20; size *= 8 {
		text := bytes.Repeat([]byte{byte(size)}, size)
		wrote := make(chan error, 1)
		go func() {
			_, err := conn.Write(text)
			wrote <- err
		}()
		got := make([]byte, size)
		if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("echo of %d bytes: %v", size, err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
	}
}

func TestWebSocketEchoes(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		s.serveEcho("/")
		conn := s.webSocket("/")
		pingPong(t, conn)
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if r := s.report(1); r.Status != http.StatusSwitchingProtocols || r.Cause != "" {
			t.Errorf("report %+v", r)
		}
	})
}

// A response that agrees to nothing must not look like a WebSocket, which over HTTP/2 is a
// 200.
func TestWebSocketIsRefused(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		s.serve("/200", func(http.ResponseWriter, *http.Request) {})
		s.serve("/403", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
		for path, want := range map[string]int{"/200": http.StatusBadGateway, "/403": http.StatusForbidden} {
			req, _ := http.NewRequest(http.MethodGet, "https://app.example.com"+path, nil)
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "websocket")
			if res, _ := do(t, s, req); res.StatusCode != want {
				t.Errorf("%s: %s", path, res.Status)
			}
		}
	})
}

func TestTCPStream(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		s.serveStream(func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		conn, err := s.edge.Dial(ctx, s.tunnel, fmt.Sprintf("10.0.0.9:%d", streamPort))
		if err != nil {
			t.Fatal(err)
		}
		pingPong(t, conn)
		_ = conn.Close() // QUIC says that it was canceled before
		if r := s.report(1); r.Socket != streamSocket || r.Route != "TCPRoute default/db" || r.Sent == 0 {
			t.Errorf("report %+v", r)
		}
		if conn, err := s.edge.Dial(ctx, s.tunnel, "10.0.0.9:22"); err == nil {
			conn.Close()
			t.Error("a port that no route has was accepted")
		}
	})
}

// The server speaks first, and ends first.
func TestTCPStreamOfAServerThatGreets(t *testing.T) {
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		s.serveStream(func(conn net.Conn) { _, _ = io.WriteString(conn, "220 hello") })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		conn, err := s.edge.Dial(ctx, s.tunnel, fmt.Sprintf("db.internal:%d", streamPort))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if text, err := io.ReadAll(conn); string(text) != "220 hello" || err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// rawCodec passes bytes, so that no messages need to be generated.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (rawCodec) Name() string                       { return "raw" }

// serveGRPC adds a Rule to an origin that answers each message, and ends with a status.
func (s *site) serveGRPC() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		stream.SetTrailer(metadata.Pairs("x-after", "yes"))
		for {
			var message []byte
			if err := stream.RecvMsg(&message); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if string(message) == "fail" {
				return status.Error(codes.DataLoss, "as told")
			}
			answer := append([]byte("re: "), message...)
			if err := stream.SendMsg(&answer); err != nil {
				return err
			}
		}
	}))
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	s.t.Cleanup(func() {
		server.Stop()
		served.Wait()
	})
	backend := router.NewBackendWith("default/grpc:80", router.BackendSettings{Protocol: router.H2C})
	backend.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort(listener.Addr().String())})
	s.route("/", backend)
}

// front is what end users connect to: it serves HTTP/2 in the clear.
func (s *site) front() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: &protocols, Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: "app.example.com"})
			r.Out.Header["Te"] = r.In.Header["Te"]
		},
		Transport: s.edge.RoundTripper(s.tunnel), FlushInterval: -1,
		// ReverseProxy may send a head before it knows that nothing follows, so a status
		// must not stand there.
		ModifyResponse: func(res *http.Response) error {
			if status := res.Header["Grpc-Status"]; status != nil && res.Trailer == nil {
				res.Trailer, res.Header = res.Header, http.Header{"Content-Type": res.Header["Content-Type"]}
			}
			return nil
		},
	}}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	s.t.Cleanup(func() {
		_ = server.Close()
		served.Wait()
	})
	return listener.Addr().String()
}

func TestGRPC(t *testing.T) {
	s := connected(t, siteOptions{})
	s.serveGRPC()
	client, err := grpc.NewClient(s.front(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	t.Run("unary", func(t *testing.T) {
		request, answer := []byte("hello"), []byte(nil)
		var trailer metadata.MD
		if err := client.Invoke(ctx, "/a.B/C", &request, &answer, grpc.Trailer(&trailer)); err != nil {
			t.Fatal(err)
		}
		if string(answer) != "re: hello" || len(trailer["x-after"]) != 1 {
			t.Errorf("%q, trailer %v", answer, trailer)
		}
		request = []byte("fail")
		if err := client.Invoke(ctx, "/a.B/C", &request, &answer); status.Code(err) != codes.DataLoss {
			t.Errorf("status %v", err)
		}
	})
	t.Run("both ways", func(t *testing.T) {
		stream, err := client.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/a.B/D")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			message, answer := fmt.Appendf(nil, "message %d", i), []byte(nil)
			if err := stream.SendMsg(&message); err != nil {
				t.Fatal(err)
			}
			if err := stream.RecvMsg(&answer); err != nil || string(answer) != "re: "+string(message) {
				t.Fatalf("%q: %v", answer, err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		var last []byte
		if err := stream.RecvMsg(&last); !errors.Is(err, io.EOF) || len(stream.Trailer()["x-after"]) != 1 {
			t.Errorf("end: %v, trailer %v", err, stream.Trailer())
		}
	})
}

func TestThousandRequestsAtOnce(t *testing.T) {
	const requests = 1000
	protocols(t, func(t *testing.T, p tunnel.Protocol) {
		s := connected(t, siteOptions{protocol: p})
		var all sync.WaitGroup
		all.Add(requests)
		s.serve("/", func(w http.ResponseWriter, r *http.Request) {
			all.Done()
			all.Wait() // nobody is answered before all have come
			fmt.Fprint(w, r.URL.Path)
		})
		var answered sync.WaitGroup
		for i := range requests {
			answered.Go(func() {
				path := fmt.Sprintf("/%d", i)
				res, err := s.client.Get("https://app.example.com" + path)
				if err != nil {
					t.Error(err)
					all.Done()
					return
				}
				defer res.Body.Close()
				if body, err := io.ReadAll(res.Body); string(body) != path || err != nil {
					t.Errorf("%s: %q, %v", path, body, err)
				}
			})
		}
		answered.Wait()
	})
}
