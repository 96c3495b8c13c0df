package exchange

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
	"github.com/lintel-dev/lintel/router"
)

// A side that speaks HTTP/2 translates its heads here, to and from the terms of HTTP/1.1.

// upstreamWindow is what an endpoint may send on one stream before the client has taken it,
// in bytes: what a pod sends over 0.5 ms at 1 Gbit/s. Exchanges of many clients share the
// connection, so the connection's window has room for all streams: else a few slow clients
// could hold it and stop the others.
const upstreamWindow = 64 << 10

// UpstreamPing is how long a connection to an endpoint with streams may be silent before it
// is asked whether it is still there, and how long it has to answer.
const UpstreamPing = 10 * time.Second

// UpstreamHTTP2 is what endpoints may do over HTTP/2.
func UpstreamHTTP2(s *Settings) h2.Settings {
	settings := h2.DefaultSettings()
	settings.StreamWindow = upstreamWindow
	settings.ConnWindow = upstreamWindow * settings.MaxConcurrentStreams
	settings.MaxHeaderBytes = s.Limits.Head
	settings.MaxFields = s.Limits.Fields
	return settings
}

// Translated is what a request over HTTP/2 means beyond its head.
type Translated struct {
	Socket  WebSocket // that it asks to open, the zero WebSocket for none
	Refusal int       // the status that it is refused with, or 0
}

// TranslateRequest fills r with head, whose fields go to the memory that r.Fields has.
func TranslateRequest(r *h1.Request, head *h2.Request, limits *h1.Limits) (t Translated) {
	fields := append(r.Fields[:0], head.Fields...)
	r.Reset()
	r.Method, r.Target, r.Minor, r.Fields = head.Method, head.Path, 1, fields
	r.Host, r.KeepAlive = head.Authority, true
	r.Path, r.Query, _ = strings.Cut(head.Path, "?")
	switch {
	case strings.EqualFold(head.Protocol, WebSocketProtocol):
		t.Socket = NewWebSocket()
		t.Socket.Request(r)
	case head.Protocol != "":
		t.Refusal = http.StatusNotImplemented // RFC 9220 §3
	case head.End || head.Method == http.MethodConnect:
	case head.Length >= 0 && !AnnouncesTrailers(fields):
		r.Framing, r.Length = h1.Length, head.Length
	default:
		r.Framing = h1.Chunked
	}
	if expects, ok := router.Lookup(fields, "Expect"); ok && r.Framing != h1.NoBody {
		r.Expect100 = strings.EqualFold(expects, "100-continue")
	}
	switch {
	case len(head.Path) > limits.Line:
		t.Refusal = http.StatusRequestURITooLong
	case head.Authority == "":
		t.Refusal = http.StatusBadRequest
	}
	return t
}

// RequestHead makes head, whose memory it uses, the head that goes to endpoint over HTTP/2.
// An upgrade to socket is an extended CONNECT there.
func (x *Exchange) RequestHead(head *h2.Request, scheme string, endpoint netip.AddrPort, socket WebSocket) {
	r := x.Request
	*head = h2.Request{
		Method: r.Method, Scheme: scheme, Authority: x.Authority(endpoint),
		Path: x.TargetUpstream(), Fields: x.RequestFields(head.Fields[:0]), Length: -1,
	}
	switch r.Framing {
	case h1.NoBody:
		head.End = true
		if ExpectsBody(r.Method) {
			head.Length = 0
		}
	case h1.Length:
		head.Length = r.Length
		head.End = r.Length == 0
	}
	if x.Unsized() && !head.End {
		head.Length = -1
	}
	if socket.Key != "" {
		head.Method, head.Protocol, head.Length, head.End = http.MethodConnect, WebSocketProtocol, -1, false
		head.Fields = WithoutHandshake(head.Fields)
	}
}

// TranslateResponse fills res with head, the answer to a request with that method, or to
// one that was to open socket. The fields stay where they are.
func TranslateResponse(res *h1.Response, head *h2.Response, method string, socket WebSocket) {
	res.Minor, res.Status, res.Reason, res.Fields = 1, head.Status, "", head.Fields
	res.KeepAlive, res.Upgrade = true, ""
	res.Framing, res.Length = h1.Chunked, 0
	switch {
	case socket.Key != "" && head.Status >= 200 && head.Status < 300:
		socket.Response(res)
	case head.Status < 200, head.Status == http.StatusNoContent, head.Status == http.StatusNotModified, method == http.MethodHead:
		res.Framing = h1.NoBody
	case head.Length >= 0 && !AnnouncesTrailers(head.Fields):
		res.Framing, res.Length = h1.Length, head.Length
	case head.End:
		res.Framing = h1.Length
	}
}

// AnnouncesTrailers reports whether a message has a Trailer field. HTTP/1.1 has room for
// trailers behind chunks alone, also when the length is known.
func AnnouncesTrailers(fields []router.Field) bool {
	_, announced := router.Lookup(fields, "Trailer")
	return announced
}

// ResponseHead is the head of the final response res as it goes to a client over HTTP/2.
// It is valid until the next call of a method.
func (x *Exchange) ResponseHead(res *h1.Response, now time.Time) h2.Response {
	head := h2.Response{Status: res.Status, Fields: x.ResponseFields(res, now), Length: -1}
	switch res.Framing {
	case h1.Length:
		head.Length = res.Length
		if res.Length == 0 { // which may be our own deduction
			head.Length = statedLength(res.Fields)
		}
	case h1.NoBody:
		head.Length = statedLength(res.Fields)
	}
	return head
}

// statedLength is what a response without a body says that one would have, or -1.
func statedLength(fields []router.Field) int64 {
	stated, _ := router.Lookup(fields, "Content-Length")
	length, err := strconv.ParseInt(stated, 10, 64)
	if err != nil {
		return -1
	}
	return length
}

// InterimHead is the head of the 1xx response res.
func InterimHead(res *h1.Response) h2.Response {
	head := h2.Response{Status: res.Status, Length: -1}
	for field := range InterimFields(res) {
		head.Fields = append(head.Fields, *field)
	}
	return head
}

// SwitchHead is the head that agrees to an extended CONNECT as res does to an upgrade. It is
// valid until the next call of a method.
func (x *Exchange) SwitchHead(res *h1.Response) h2.Response {
	return h2.Response{Status: http.StatusOK, Fields: WithoutHandshake(x.SwitchFields(res)), Length: -1}
}

// AnsweredHead notes that the client is given a, as Answered does, and returns the head and
// the body that it is sent.
func (x *Exchange) AnsweredHead(a Answer, now time.Time) (head h2.Response, body []byte) {
	fields, body := x.Answered(a, now)
	head = h2.Response{Status: x.Report.Status, Fields: fields, Length: -1}
	if len(body) > 0 {
		head.Length = int64(len(body))
	}
	if x.Report.Method == http.MethodHead {
		body = nil
	}
	x.Report.Sent = int64(len(body))
	head.End = len(body) == 0
	return head, body
}
