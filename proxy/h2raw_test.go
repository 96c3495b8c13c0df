package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawH2 is an HTTP/2 client that sends frames of the test's choice.
type rawH2 struct {
	t      testing.TB
	conn   net.Conn
	frames *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
}

var rawH2Modes = []mode{h2cMode, h2Mode}

// dialForH2 connects, and sends nothing.
func (g *gateway) dialForH2() (net.Conn, error) {
	conn, err := net.Dial("tcp", g.address())
	if err != nil {
		return nil, err
	}
	if g.mode.tls {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: "app.test", NextProtos: []string{"h2"}})
	}
	_ = conn.SetDeadline(time.Now().Add(ample))
	return conn, nil
}

// dialH2 connects, and sends the preface and settings.
func (g *gateway) dialH2(settings ...http2.Setting) *rawH2 {
	g.t.Helper()
	conn, err := g.dialForH2()
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	r := &rawH2{t: g.t, conn: conn, frames: http2.NewFramer(conn, conn)}
	r.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.hpack = hpack.NewEncoder(&r.block)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		g.t.Fatal(err)
	}
	r.must(r.frames.WriteSettings(settings...))
	return r
}

func (r *rawH2) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// head sends a head of names and values. Every stream has one of its own.
func (r *rawH2) head(stream uint32, end http2.Flags, pairs ...string) {
	r.t.Helper()
	r.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		r.must(r.hpack.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	r.must(r.frames.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: r.block.Bytes(), EndHeaders: true, EndStream: end.Has(http2.FlagHeadersEndStream),
	}))
}

const endStream = http2.FlagHeadersEndStream

// get sends a request without a body.
func (r *rawH2) get(stream uint32, path string, more ...string) {
	r.t.Helper()
	r.head(stream, endStream, append([]string{":method", "GET", ":scheme", "http", ":authority", "app.test", ":path", path}, more...)...)
}

// next returns the next frame that is about a stream or ends the connection; nil when
// the connection has ended.
func (r *rawH2) next() http2.Frame {
	r.t.Helper()
	for {
		frame, err := r.frames.ReadFrame()
		if err != nil {
			if isTimeout(err) {
				r.t.Fatal("no frame comes")
			}
			if _, ok := errors.AsType[http2.StreamError](err); ok {
				r.t.Fatal(err)
			}
			return nil
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				r.must(r.frames.WriteSettingsAck())
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				r.must(r.frames.WritePing(true, f.Data))
			}
		case *http2.WindowUpdateFrame:
		default:
			return frame
		}
	}
}

// ping makes a round trip, which brings no frames but those of the connection's beginning and PING.
func (r *rawH2) ping() {
	r.t.Helper()
	r.must(r.frames.WritePing(false, [8]byte{1}))
	for {
		frame, err := r.frames.ReadFrame()
		r.must(err)
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				r.must(r.frames.WriteSettingsAck())
			}
		case *http2.WindowUpdateFrame:
		case *http2.PingFrame:
			if f.IsAck() {
				return
			}
			r.must(r.frames.WritePing(true, f.Data))
		default:
			r.t.Fatalf("%v", f)
		}
	}
}

// status reads a head on the stream.
func (r *rawH2) status(stream uint32) string {
	r.t.Helper()
	head, ok := r.next().(*http2.MetaHeadersFrame)
	if !ok || head.StreamID != stream {
		r.t.Fatalf("no head on stream %d", stream)
	}
	return head.PseudoValue("status")
}

// body reads payload on a stream to its end.
func (r *rawH2) body(stream uint32) string {
	r.t.Helper()
	var all []byte
	for {
		data, ok := r.next().(*http2.DataFrame)
		if !ok || data.StreamID != stream {
			r.t.Fatalf("no payload on stream %d after %q", stream, all)
		}
		all = append(all, data.Data()...)
		if data.StreamEnded() {
			return string(all)
		}
	}
}

// payload reads n bytes of it.
func (r *rawH2) payload(stream uint32, n int) string {
	r.t.Helper()
	var all []byte
	for len(all) < n {
		data, ok := r.next().(*http2.DataFrame)
		if !ok || data.StreamID != stream {
			r.t.Fatalf("no payload on stream %d after %q", stream, all)
		}
		all = append(all, data.Data()...)
	}
	return string(all)
}

// rawFrame is a frame that nobody has looked at.
func rawFrame(kind http2.FrameType, flags http2.Flags, stream uint32, payload string) string {
	header := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return string(binary.BigEndian.AppendUint32(append(header, byte(flags)), stream)) + payload
}
