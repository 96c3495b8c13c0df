package proxy

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// grpcWeb is a client that speaks gRPC-Web to an upstream that gets gRPC: what stands in
// trailers there is a last message here, and the text variant is in base64 both ways.
// See exchange.TranslateGRPCWeb.
type grpcWeb struct {
	downstream
	x      *exchange.Exchange
	text   bool
	active bool // the response is one of gRPC

	quad  [4]byte // base64 that is not decoded yet
	quads int     // bytes in quad
}

// trailersFlag marks the message that holds the trailers.
const trailersFlag = 0x80

// translate puts a grpcWeb between the client and the flight, if the request asks for it.
func (f *flight) translate() (restore func()) {
	web := f.TranslateGRPCWeb()
	if web == exchange.NoGRPCWeb {
		return func() {}
	}
	down := f.down
	f.down = &grpcWeb{downstream: down, x: &f.Exchange, text: web == exchange.GRPCWebText}
	return func() { f.down = down }
}

func (g *grpcWeb) rewind() {
	g.quads = 0
	g.downstream.rewind()
}

// next implements downstream.
func (g *grpcWeb) next() ([]byte, error) {
	for {
		data, err := g.downstream.next()
		switch {
		case err == io.EOF && g.quads > 0:
			return nil, errNotBase64()
		case !g.text || err != nil || len(data) == 0:
			return data, err
		}
		if data, err = g.decode(data); len(data) > 0 || err != nil {
			return data, err
		}
	}
}

// errNotBase64 is why the text of a request is refused.
func errNotBase64() error {
	return &h1.Error{Status: http.StatusBadRequest, Reason: "the body is not base64"}
}

// decode decodes what has come of base64 in groups of four: any of them may be padded,
// as messages may be encoded one by one.
func (g *grpcWeb) decode(text []byte) ([]byte, error) {
	out := make([]byte, 0, len(text)/4*3+3)
	for _, c := range text {
		g.quad[g.quads] = c
		if g.quads++; g.quads < len(g.quad) {
			continue
		}
		g.quads = 0
		var err error
		if out, err = base64.StdEncoding.AppendDecode(out, g.quad[:]); err != nil {
			return nil, errNotBase64()
		}
	}
	return out, nil
}

func (g *grpcWeb) head(res *h1.Response, now time.Time) error {
	g.active = g.x.TranslateGRPC(res)
	return g.downstream.head(res, now)
}

// write implements downstream. Every piece is padded base64 of its own.
func (g *grpcWeb) write(p []byte) error {
	if g.active && g.text {
		p = base64.StdEncoding.AppendEncode(nil, p)
	}
	return g.downstream.write(p)
}

func (g *grpcWeb) end(trailers []h1.Field) error {
	if !g.active {
		return g.downstream.end(trailers)
	}
	message := []byte{trailersFlag, 0, 0, 0, 0}
	for _, f := range trailers {
		message = append(message, strings.ToLower(f.Name)...)
		message = append(message, ':', ' ')
		message = append(message, f.Value...)
		message = append(message, '\r', '\n')
	}
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-5))
	if err := g.write(message); err != nil {
		return err
	}
	return g.downstream.end(nil)
}
