package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
)

// Types of frames (RFC 9114 §7.2).
const (
	frameData     = 0x0
	frameHeaders  = 0x1
	frameSettings = 0x4
	frameGoaway   = 0x7
)

// h3Raw is a client of HTTP/3 that sends frames of the test's choice.
type h3Raw struct {
	t    testing.TB
	conn *quic.Conn
}

func (g *gateway) dialH3() *h3Raw {
	g.t.Helper()
	return dialH3At(g.t, g.address())
}

func dialH3At(t testing.TB, address string) *h3Raw {
	t.Helper()
	r, err := tryH3At(t, address)
	if err != nil {
		t.Fatalf("dial QUIC: %v", err)
	}
	return r
}

// tryH3At gives up soon when there is no server.
func tryH3At(t testing.TB, address string) (*h3Raw, error) {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "app.test", NextProtos: []string{http3.NextProtoH3}}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := quic.DialAddr(ctx, address, config, nil)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") })
	control, err := conn.OpenUniStream()
	if err != nil {
		return nil, err
	}
	_, err = control.Write(append(quicvarint.Append(nil, 0), frame(frameSettings, nil)...))
	return &h3Raw{t: t, conn: conn}, err
}

func (r *h3Raw) write(to io.Writer, p []byte) {
	_, _ = to.Write(p) // it may be refused: what comes back tells
}

func frame(kind uint64, payload []byte) []byte {
	return append(quicvarint.Append(quicvarint.Append(nil, kind), uint64(len(payload))), payload...)
}

// headers is a HEADERS frame of names and values in turn.
func headers(fields ...string) []byte {
	var block bytes.Buffer
	encoder := qpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		_ = encoder.WriteField(qpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return frame(frameHeaders, block.Bytes())
}

// get are the pseudo-header fields of a request, and then others.
func get(fields ...string) []byte {
	return headers(append([]string{":method", "GET", ":scheme", "https", ":authority", "app.test", ":path", "/"}, fields...)...)
}

// open opens a stream and sends bytes on it.
func (r *h3Raw) open(p ...[]byte) *quic.Stream {
	r.t.Helper()
	stream, err := r.conn.OpenStream()
	if err != nil {
		r.t.Fatalf("open stream: %v", err)
	}
	_ = stream.SetDeadline(time.Now().Add(20 * time.Second))
	r.write(stream, bytes.Join(p, nil))
	return stream
}

// request opens a stream, sends a whole request on it, and returns what comes back.
func (r *h3Raw) request(p ...[]byte) h3Answer {
	r.t.Helper()
	stream := r.open(p...)
	_ = stream.Close()
	return answerOn(stream)
}

// h3Answer is what came back on a stream: a status, and how the stream was ended.
type h3Answer struct {
	status string
	fields map[string]string
	body   string
	code   http3.ErrCode // of a reset, or of the connection's end; 0 when the stream was finished
}

func answerOn(stream io.Reader) h3Answer {
	answer := h3Answer{fields: map[string]string{}}
	in := quicvarint.NewReader(stream)
	for {
		kind, payload, err := readFrame(in)
		if err != nil {
			answer.code = codeOf(err)
			return answer
		}
		switch kind {
		case frameHeaders:
			next := qpack.NewDecoder().Decode(payload)
			for field, err := next(); err == nil; field, err = next() {
				if field.Name == ":status" {
					answer.status += field.Value
				}
				answer.fields[field.Name] = field.Value
			}
		case frameData:
			answer.body += string(payload)
		}
	}
}

func readFrame(in quicvarint.Reader) (kind uint64, payload []byte, err error) {
	if kind, err = quicvarint.Read(in); err != nil {
		return 0, nil, err
	}
	size, err := quicvarint.Read(in)
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, size)
	if _, err = io.ReadFull(in, payload); err == io.EOF {
		err = io.ErrUnexpectedEOF // no end is proper behind a frame's head
	}
	return kind, payload, err
}

// codeOf is the error code that ended a stream or its connection; 0 for its proper end.
func codeOf(err error) http3.ErrCode {
	if reset, ok := errors.AsType[*quic.StreamError](err); ok {
		return http3.ErrCode(reset.ErrorCode)
	}
	if closed, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return http3.ErrCode(closed.ErrorCode)
	}
	if err == io.EOF {
		return 0
	}
	return 0xffff // a timeout, say
}

// serverControl is the server's control stream, behind its type.
func (r *h3Raw) serverControl() quicvarint.Reader {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stream, err := r.conn.AcceptUniStream(ctx)
	if err != nil {
		r.t.Fatalf("accept control stream: %v", err)
	}
	_ = stream.SetReadDeadline(time.Now().Add(10 * time.Second))
	in := quicvarint.NewReader(stream)
	if kind, err := quicvarint.Read(in); kind != 0 || err != nil {
		r.t.Fatalf("stream of type %d, %v", kind, err)
	}
	return in
}
