package exchange

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// gRPC-Web is gRPC for browsers, which cannot see trailers: they come as a last message
// of the body, and the text variant is in base64 throughout (gRPC Web, "Protocol
// differences vs gRPC over HTTP2"). A Backend that is spoken to in h2c gets gRPC
// instead, as from the filter of Envoy: what speaks gRPC over HTTP/2 understands that.
// To others it passes as it is, since they may know it themselves.

// grpcWebType is the media type of gRPC-Web; grpcWebText that of the text variant.
const (
	grpcWebType = grpcType + "-web"
	grpcWebText = grpcWebType + "-text"
)

// GRPCWeb says whether a request is one of gRPC-Web.
type GRPCWeb uint8

// The variants.
const (
	NoGRPCWeb GRPCWeb = iota
	GRPCWebBinary
	GRPCWebText
)

// webOf tells the variant that a media type is of; format is what follows it, such as
// +proto.
func webOf(media string) (web GRPCWeb, format string) {
	if rest, ok := cutFold(media, grpcWebText); ok {
		return GRPCWebText, rest
	}
	if rest, ok := cutFold(media, grpcWebType); ok {
		return GRPCWebBinary, rest
	}
	return NoGRPCWeb, ""
}

// cutFold cuts a media type off, and reports whether it is that one.
func cutFold(media, kind string) (rest string, ok bool) {
	if len(media) < len(kind) || !strings.EqualFold(media[:len(kind)], kind) {
		return "", false
	}
	rest = media[len(kind):]
	return rest, rest == "" || rest[0] == '+' || rest[0] == ';'
}

// TranslateGRPCWeb makes the request that is to be forwarded one of gRPC, if it is one of
// gRPC-Web and the Backend is to get gRPC.
func (x *Exchange) TranslateGRPCWeb() GRPCWeb {
	if x.Chosen.Backend.Protocol() != router.H2C {
		return NoGRPCWeb
	}
	media, _ := router.Lookup(x.Request.Fields, "Content-Type")
	web, format := webOf(media)
	if web == NoGRPCWeb {
		return NoGRPCWeb
	}
	for i := range x.fields {
		if strings.EqualFold(x.fields[i].Name, "Content-Type") {
			x.fields[i].Value = grpcType + format
		}
	}
	x.web = web
	return web
}

// TranslateGRPC makes the head res one of gRPC-Web, if it is one of gRPC, and reports
// whether its body has to be translated too.
func (x *Exchange) TranslateGRPC(res *h1.Response) bool {
	media, _ := router.Lookup(res.Fields, "Content-Type")
	format, ok := cutFold(media, grpcType)
	if !ok {
		return false
	}
	kind := grpcWebType
	if x.web == GRPCWebText {
		kind = grpcWebText
	}
	res.Fields = slices.DeleteFunc(res.Fields, func(f router.Field) bool { return strings.EqualFold(f.Name, "Content-Type") })
	res.Fields = append(res.Fields, router.Field{Name: "Content-Type", Value: kind + format})
	if res.Framing == h1.Length && res.Length > 0 {
		res.Framing = h1.Chunked // what stood in trailers comes on top
	}
	return res.Framing == h1.Chunked
}

// Unsized reports whether the payload that goes upstream has another length than the one
// that came.
func (x *Exchange) Unsized() bool { return x.web == GRPCWebText }

// Base64 decodes what comes of the text variant. The zero Base64 is at the beginning.
type Base64 struct {
	quad  [4]byte // what is not decoded yet
	quads int     // bytes in quad
}

// Decode decodes what follows, in groups of four: any of them may be padded, as messages
// may be encoded one by one. It reports false when it is not base64.
func (b *Base64) Decode(text []byte) (data []byte, ok bool) {
	data = make([]byte, 0, len(text)/4*3+3)
	for _, c := range text {
		b.quad[b.quads] = c
		if b.quads++; b.quads < len(b.quad) {
			continue
		}
		b.quads = 0
		var err error
		if data, err = base64.StdEncoding.AppendDecode(data, b.quad[:]); err != nil {
			return nil, false
		}
	}
	return data, true
}

// Partial reports whether the text cannot end here.
func (b *Base64) Partial() bool { return b.quads > 0 }

// trailersFlag marks the message that holds the trailers.
const trailersFlag = 0x80

// WebTrailers is the message at the end of a response that says what stood in trailers.
func WebTrailers(trailers []h1.Field) []byte {
	message := []byte{trailersFlag, 0, 0, 0, 0}
	for _, f := range trailers {
		message = append(message, strings.ToLower(f.Name)...)
		message = append(message, ':', ' ')
		message = append(message, f.Value...)
		message = append(message, '\r', '\n')
	}
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-5))
	return message
}
