package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// The fields by which the two sides of a connection over HTTP/2 tell each other what a
// stream is.
const (
	upgradeField   = "Cf-Cloudflared-Proxy-Connection-Upgrade"
	streamField    = "Cf-Cloudflared-Proxy-Src"
	responseFields = "Cf-Cloudflared-Response-Headers"
	responseMeta   = "Cf-Cloudflared-Response-Meta"
)

// http2Transport is a connection on which the edge is the client of HTTP/2.
type http2Transport struct {
	client *http.ClientConn
	wire   net.Conn
	end    context.CancelFunc // of the control stream
	active gate
}

// serveHTTP2 serves a connection until it ends.
func (s *server) serveHTTP2(wire net.Conn) {
	secure := tls.Server(wire, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{s.edge.authority.certificate}})
	if secure.HandshakeContext(context.Background()) != nil || secure.ConnectionState().NegotiatedProtocol != "" {
		return
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	dialer := &http.Transport{
		Protocols: &protocols, DisableCompression: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return struct{ net.Conn }{secure}, nil },
	}
	client, err := dialer.NewClientConn(context.Background(), "http", "connector:80")
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	t := &http2Transport{client: client, wire: wire, end: cancel}
	c := &connection{edge: s.edge, transport: t}
	c.Server, c.Protocol = s.index, "http2"
	_ = t.control(ctx, c) // it ends with the connection
	s.edge.remove(c)
	t.active.close()
	_ = client.Close() // and so does this
}

// control opens the control stream, and stays while it does.
func (t *http2Transport) control(ctx context.Context, c *connection) error {
	body, out := io.Pipe()
	r := t.request(ctx, body)
	r.Header.Set(upgradeField, "control-stream")
	res, err := t.client.RoundTrip(r) //nolint:bodyclose // the stream's end closes it, too
	if err != nil {
		return err
	}
	defer res.Body.Close()
	stream := &duplex{Reader: res.Body, Writer: out, close: func() error {
		return errors.Join(out.Close(), res.Body.Close())
	}}
	c.serve(ctx, stream)
	return nil
}

func (t *http2Transport) request(ctx context.Context, body io.Reader) *http.Request {
	closer, _ := body.(io.ReadCloser)
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: "connector", Path: "/"}, Header: http.Header{}, Body: closer}
	return r.WithContext(ctx)
}

// roundTrip implements transport.
func (t *http2Transport) roundTrip(r *http.Request) (*http.Response, error) {
	if !t.active.enter() {
		return nil, errLeaving
	}
	res, err := t.exchange(r)
	if err != nil {
		t.active.leave()
		return nil, err
	}
	res.Body = &ending{Reader: res.Body, closer: res.Body, done: t.active.leave}
	if w, ok := res.Body.(*ending).closer.(io.Writer); ok {
		res.Body = &duplex{Reader: res.Body, Writer: w, close: res.Body.Close}
	}
	return res, nil
}

func (t *http2Transport) exchange(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	r.URL.Scheme, r.URL.Host, r.Host = "http", "connector", host
	var out *io.PipeWriter
	if webSocket(r) {
		r.Header.Set(upgradeField, "websocket")
		r.Header.Del("Connection")
		r.Header.Del("Upgrade")
		r.Body, out = io.Pipe()
		r.ContentLength = -1
	}
	res, err := t.client.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := restore(res); err != nil {
		res.Body.Close()
		return nil, err
	}
	if out != nil && res.StatusCode == http.StatusOK && res.Header.Get("Upgrade") != "" {
		res.StatusCode, res.Status = http.StatusSwitchingProtocols, "101 Switching Protocols"
		body := res.Body
		res.Body = &duplex{Reader: body, Writer: out, close: func() error { return errors.Join(out.Close(), body.Close()) }}
	} else if out != nil {
		_ = out.Close() // it has no error to tell
	}
	return res, nil
}

// restore reads the fields of a response as its connector has packed them; others do not
// count.
func restore(res *http.Response) error {
	switch meta := res.Header.Get(responseMeta); meta {
	case `{"src":"origin"}`:
	case `{"src":"cloudflared"}`:
		res.Header = http.Header{}
		return nil
	default:
		return fmt.Errorf("response is from nobody: %q", meta)
	}
	packed := res.Header.Get(responseFields)
	fields := http.Header{}
	for pair := range strings.SplitSeq(packed, ";") {
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, ":")
		plainName, err1 := base64.RawStdEncoding.DecodeString(name)
		plainValue, err2 := base64.RawStdEncoding.DecodeString(value)
		if !ok || err1 != nil || err2 != nil {
			return fmt.Errorf("response has a malformed field %q", pair)
		}
		fields.Add(string(plainName), string(plainValue))
	}
	res.Header = fields
	return nil
}

// webSocket reports whether a request asks for a WebSocket.
func webSocket(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }

// dial implements transport.
func (t *http2Transport) dial(ctx context.Context, destination string) (io.ReadWriteCloser, error) {
	body, out := io.Pipe()
	r := t.request(ctx, body)
	r.Host = destination
	r.Header.Set(streamField, clientAddress+":40000")
	if !t.active.enter() {
		return nil, errLeaving
	}
	res, err := t.client.RoundTrip(r) //nolint:bodyclose // who has dialled closes it
	if err != nil {
		t.active.leave()
		return nil, err
	}
	if err := restore(res); err != nil || res.StatusCode != http.StatusOK {
		res.Body.Close()
		t.active.leave()
		return nil, errors.Join(err, errors.New("stream was answered with "+strconv.Itoa(res.StatusCode)))
	}
	var once sync.Once
	return &duplex{Reader: res.Body, Writer: out, close: func() error {
		defer once.Do(t.active.leave)
		return errors.Join(out.Close(), res.Body.Close())
	}}, nil
}

// configure implements transport.
func (t *http2Transport) configure(ctx context.Context, version int32, config []byte) (int32, error) {
	text, err := json.Marshal(map[string]any{"version": version, "config": json.RawMessage(config)})
	if err != nil {
		return 0, err
	}
	r := t.request(ctx, io.NopCloser(bytes.NewReader(text)))
	r.Method = http.MethodPut
	r.Header.Set(upgradeField, "update-configuration")
	res, err := t.client.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var answer struct {
		LastAppliedVersion *int32
		Err                any
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.LastAppliedVersion == nil || answer.Err != nil {
		return 0, fmt.Errorf("configuration was answered with %d: %v", res.StatusCode, answer)
	}
	return *answer.LastAppliedVersion, nil
}

// goAway implements transport.
func (t *http2Transport) goAway() { t.end() }

// close implements transport.
func (t *http2Transport) close() { t.wire.Close() }

// ending is a body that tells when it was closed or read to its end.
type ending struct {
	io.Reader
	closer io.Closer
	once   sync.Once
	done   func()
}

// Read implements io.Reader.
func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err != nil {
		e.once.Do(e.done)
	}
	return n, err
}

// Close implements io.Closer.
func (e *ending) Close() error {
	defer e.once.Do(e.done)
	return e.closer.Close()
}

// errLeaving is the answer to a request that came too late for a connection.
var errLeaving = errors.New("connection is leaving")

// gate counts what is under way. The zero gate is open.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

// enter counts one more, until leave, and reports whether the gate is open.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside.Add(1)
	return true
}

func (g *gate) leave() { g.inside.Done() }

// close lets nobody in any more, and waits until all have left.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}
