//go:build linux

package loop

import (
	"encoding/base64"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// A client that speaks gRPC-Web to an upstream that gets gRPC: what stands in trailers there
// is a last message here, and the text variant is in base64 both ways. See
// [exchange.Exchange.TranslateGRPCWeb].

// decoded returns payload of the request as it goes upstream. It reports false when it is
// malformed.
func (f *flight) decoded(data []byte) (plain []byte, ok bool) {
	if f.web != exchange.GRPCWebText {
		return data, true
	}
	return f.coded.Decode(data)
}

// encoded returns payload of a response of gRPC as the client gets it; every piece is padded
// base64 of its own.
func (f *flight) encoded(data []byte) []byte {
	if f.web != exchange.GRPCWebText || len(data) == 0 {
		return data
	}
	return base64.StdEncoding.AppendEncode(nil, data)
}

// breakOff ends a response, whose head was sent, with trailers. It reports false when the
// client takes no such thing.
func (f *flight) breakOff(trailers []h1.Field) bool {
	if !f.translates {
		return f.down.breakOff(trailers)
	}
	message := f.encoded(exchange.WebTrailers(trailers))
	f.payload.Reset(h1.Length, int64(len(message)), f.Settings.Limits)
	_, result := f.down.pass(message, payload)
	return result == passedOn
}
