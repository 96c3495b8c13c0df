package proxy

import (
	"encoding/base64"
	"io"
	"net/http"
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

	coded exchange.Base64 // of the request
}

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
	g.coded = exchange.Base64{}
	g.downstream.rewind()
}

// next implements downstream.
func (g *grpcWeb) next() ([]byte, error) {
	for {
		data, err := g.downstream.next()
		switch {
		case err == io.EOF && g.coded.Partial():
			return nil, errNotBase64()
		case !g.text || err != nil || len(data) == 0:
			return data, err
		}
		data, ok := g.coded.Decode(data)
		if !ok {
			return nil, errNotBase64()
		}
		if len(data) > 0 {
			return data, nil
		}
	}
}

// errNotBase64 is why the text of a request is refused.
func errNotBase64() error {
	return &h1.Error{Status: http.StatusBadRequest, Reason: "the body is not base64"}
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
	message := exchange.WebTrailers(trailers)
	if err := g.write(message); err != nil {
		return err
	}
	return g.downstream.end(nil)
}
