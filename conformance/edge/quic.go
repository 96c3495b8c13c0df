package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/cloudflare/cloudflared/tunnelrpc/pogs"
	rpcquic "github.com/cloudflare/cloudflared/tunnelrpc/quic"
	"github.com/quic-go/quic-go"
)

// quicTransport is a connection on which the edge opens a stream for each request.
type quicTransport struct {
	conn *quic.Conn
	end  context.CancelFunc // of the control stream
}

// serveQUIC serves a connection until it ends.
func (s *server) serveQUIC(conn *quic.Conn) {
	control, err := conn.AcceptStream(conn.Context())
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(conn.Context())
	defer cancel()
	t := &quicTransport{conn: conn, end: cancel}
	c := &connection{edge: s.edge, transport: t}
	c.Server, c.Protocol = s.index, "quic"
	stop := context.AfterFunc(conn.Context(), func() { s.edge.remove(c) })
	c.serve(ctx, &duplex{Reader: control, Writer: control, close: func() error {
		control.CancelRead(0)
		return control.Close()
	}})
	<-conn.Context().Done()
	if stop() {
		s.edge.remove(c)
	}
}

// roundTrip implements transport.
func (t *quicTransport) roundTrip(r *http.Request) (*http.Response, error) {
	kind := pogs.ConnectionTypeHTTP
	if webSocket(r) {
		kind = pogs.ConnectionTypeWebsocket
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	metadata := []pogs.Metadata{{Key: "HttpMethod", Val: r.Method}, {Key: "HttpHost", Val: host}}
	hasBody := r.Body != nil && r.Body != http.NoBody
	switch {
	case hasBody && r.ContentLength > 0:
		metadata = append(metadata, pogs.Metadata{Key: "HttpHeader:Content-Length", Val: strconv.FormatInt(r.ContentLength, 10)})
	case hasBody:
		metadata = append(metadata, pogs.Metadata{Key: "HttpHeader:Transfer-Encoding", Val: "chunked"})
	}
	for name, values := range r.Header {
		if name == "Content-Length" { // of a request that is passed on, and it stands above
			continue
		}
		for _, value := range values {
			metadata = append(metadata, pogs.Metadata{Key: "HttpHeader:" + name, Val: value})
		}
	}
	stream, head, err := t.open(r.Context(), "http://"+host+r.URL.RequestURI(), kind, metadata, func(s *quic.Stream) {
		if kind == pogs.ConnectionTypeWebsocket {
			return
		}
		if hasBody {
			go send(s, r.Body)
		} else {
			_ = s.Close() // it fails if the connection is gone
		}
	})
	if err != nil {
		return nil, err
	}
	res, err := response(head)
	if err != nil {
		stream.CancelRead(0)
		stream.CancelWrite(0)
		return nil, err
	}
	res.Request, res.ProtoMajor, res.ProtoMinor, res.Proto = r, 1, 1, "HTTP/1.1"
	res.Body = quicBody{Stream: stream}
	stop := context.AfterFunc(r.Context(), func() {
		stream.CancelRead(0)
		stream.CancelWrite(0)
	})
	if res.StatusCode == http.StatusSwitchingProtocols {
		res.Body = &duplex{Reader: stream, Writer: stream, close: func() error {
			stop()
			stream.CancelRead(0)
			return stream.Close()
		}}
	}
	return res, nil
}

// send sends a request's body.
func send(s *quic.Stream, body io.ReadCloser) {
	defer body.Close()
	if _, err := io.Copy(s, body); err != nil {
		s.CancelWrite(0)
		return
	}
	_ = s.Close() // it fails if the connection is gone
}

// open opens a stream, and returns it with what its connector answers.
func (t *quicTransport) open(ctx context.Context, dest string, kind pogs.ConnectionType, metadata []pogs.Metadata, begun func(*quic.Stream)) (*quic.Stream, *pogs.ConnectResponse, error) {
	s, err := t.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		s.CancelRead(0)
		s.CancelWrite(0)
	})
	defer stop()
	var head bytes.Buffer
	client := rpcquic.RequestClientStream{ReadWriteCloser: &duplex{Reader: s, Writer: &head, close: s.Close}}
	if err := client.WriteConnectRequestData(dest, kind, metadata...); err != nil {
		return nil, nil, err
	}
	if _, err := s.Write(head.Bytes()); err != nil {
		return nil, nil, err
	}
	begun(s)
	answer, err := client.ReadConnectResponseData()
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err != nil {
		s.CancelRead(0)
		s.CancelWrite(0)
		return nil, nil, err
	}
	return s, answer, nil
}

// response is the head of a response as a connector tells of it.
func response(head *pogs.ConnectResponse) (*http.Response, error) {
	res := &http.Response{Header: http.Header{}, ContentLength: -1}
	for _, m := range head.Metadata {
		if name, ok := strings.CutPrefix(m.Key, "HttpHeader:"); ok {
			res.Header.Add(name, m.Val)
		}
		if m.Key == "HttpStatus" {
			status, err := strconv.Atoi(m.Val)
			if err != nil {
				return nil, fmt.Errorf("read status: %w", err)
			}
			res.StatusCode, res.Status = status, m.Val+" "+http.StatusText(status)
		}
	}
	if res.StatusCode == 0 {
		return nil, errors.New("response has no status")
	}
	if length, err := strconv.ParseInt(res.Header.Get("Content-Length"), 10, 64); err == nil {
		res.ContentLength = length
	}
	return res, nil
}

// quicBody is a response's body.
type quicBody struct{ *quic.Stream }

// Close implements io.Closer.
func (b quicBody) Close() error {
	b.CancelRead(0)
	return nil
}

// dial implements transport.
func (t *quicTransport) dial(ctx context.Context, destination string) (io.ReadWriteCloser, error) {
	s, _, err := t.open(ctx, destination, pogs.ConnectionTypeTCP, nil, func(*quic.Stream) {})
	if err != nil {
		return nil, err
	}
	return &duplex{Reader: s, Writer: s, close: func() error {
		s.CancelRead(0)
		return s.Close()
	}}, nil
}

// configure implements transport.
func (t *quicTransport) configure(ctx context.Context, version int32, config []byte) (int32, error) {
	s, err := t.conn.OpenStreamSync(ctx)
	if err != nil {
		return 0, err
	}
	client, err := rpcquic.NewCloudflaredClient(ctx, s, callTimeout)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	answer, err := client.UpdateConfiguration(ctx, version, config)
	if err != nil {
		return 0, err
	}
	return answer.LastAppliedVersion, answer.Err
}

// goAway implements transport. QUIC has no such thing in this protocol: the control stream
// ends.
func (t *quicTransport) goAway() { t.end() }

// close implements transport.
func (t *quicTransport) close() { _ = t.conn.CloseWithError(0, "") }
