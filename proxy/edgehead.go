package proxy

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/lintel-dev/lintel/internal/edgewire"
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// appendHead appends the request as HTTP/1.1 without what is about the connection to the
// edge, and says who sent it. It reports false if something in it would read as something
// else.
func (r *edgeRequest) appendHead(dst []byte, v *visitor) ([]byte, bool) {
	sent := r.sent
	method := sent.Method
	if sent.WebSocket {
		method = http.MethodGet
	}
	valid := h1.ValidName(method) && h1.ValidValue(sent.Target) && !strings.ContainsAny(sent.Target, " \t") && h1.ValidValue(sent.Host)
	dst = h1.AppendRequestLine(dst, method, sent.Target)
	dst = h1.AppendField(dst, "Host", sent.Host)
	about := aboutOf(sent)
	v.host, v.plain, v.peer = sent.Host, about.plain, about.peer
	chunked := about.chunked
	for i := range sent.Fields {
		field := &sent.Fields[i]
		value := field.Value
		switch {
		case !h1.ValidName(field.Name) || !h1.ValidValue(value):
			valid = false
		case about.drops(field, chunked || sent.WebSocket):
			continue
		case i == about.chain:
			rest, cut := edgewire.CutClient(value, about.peer.Addr())
			if cut && rest == "" {
				continue
			}
			value = rest
		}
		dst = h1.AppendField(dst, field.Name, value)
	}
	switch {
	case sent.WebSocket:
		dst = appendOffer(dst, sent)
	case chunked:
		dst = h1.AppendChunked(dst)
	}
	return h1.AppendCRLF(dst), valid
}

// edgeAbout is what the fields of a request tell that is not the request's.
type edgeAbout struct {
	peer    netip.AddrPort
	plain   bool
	chunked bool
	chain   int      // which field has the edge's hop; -1 is none
	options []string // values of Connection
}

func aboutOf(sent *edgewire.Request) edgeAbout {
	about := edgeAbout{chain: -1}
	for i := range sent.Fields {
		field := &sent.Fields[i]
		switch len(field.Name) {
		case len(edgewire.Client):
			if strings.EqualFold(field.Name, edgewire.Client) {
				if address, ok := edgewire.ParseClient(field.Value); ok {
					about.peer = netip.AddrPortFrom(address, 0)
				}
			}
		case len(edgewire.Scheme):
			switch {
			case strings.EqualFold(field.Name, edgewire.Scheme):
				about.plain = field.Value == "http"
			case strings.EqualFold(field.Name, "Transfer-Encoding"):
				about.chunked = about.chunked || strings.Contains(strings.ToLower(field.Value), "chunked")
			}
		case len(edgewire.Chain):
			if strings.EqualFold(field.Name, edgewire.Chain) {
				about.chain = i
			}
		case len("Connection"):
			if strings.EqualFold(field.Name, "Connection") {
				about.options = append(about.options, field.Value)
			}
		}
	}
	if !about.peer.IsValid() {
		about.chain = -1
	}
	return about
}

// drops reports whether a field is about the connection to the edge, or stands elsewhere. A
// length does so if unsized.
func (a *edgeAbout) drops(field *edgewire.Field, unsized bool) bool {
	name := field.Name
	switch {
	case strings.EqualFold(name, "Te"):
		return !strings.EqualFold(field.Value, "trailers")
	case h1.IsHopByHop(name), strings.EqualFold(name, "Host"),
		strings.EqualFold(name, edgewire.StreamKind), strings.EqualFold(name, edgewire.StreamSource):
		return true
	case unsized && strings.EqualFold(name, "Content-Length"):
		return true
	}
	for _, value := range a.options {
		for option := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(option), name) {
				return true
			}
		}
	}
	return false
}

// appendOffer appends the fields by which HTTP/1.1 asks for a WebSocket.
func appendOffer(dst []byte, sent *edgewire.Request) []byte {
	dst = h1.AppendField(dst, "Connection", "Upgrade")
	dst = h1.AppendField(dst, "Upgrade", exchange.WebSocketProtocol)
	var key, version bool
	for i := range sent.Fields {
		key = key || strings.EqualFold(sent.Fields[i].Name, "Sec-WebSocket-Key")
		version = version || strings.EqualFold(sent.Fields[i].Name, "Sec-WebSocket-Version")
	}
	if !key {
		ours := exchange.NewWebSocket()
		dst = h1.AppendField(dst, "Sec-WebSocket-Key", ours.Key)
	}
	if !version {
		dst = h1.AppendField(dst, "Sec-WebSocket-Version", "13")
	}
	return dst
}
