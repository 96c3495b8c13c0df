package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/lintel-dev/lintel/internal/edgewire"
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
	"github.com/lintel-dev/lintel/router"
)

// edgeStream is a stream of Cloudflare's edge. Most are requests, and used again with their
// flights; others are TCP streams, or meant for the connector.
type edgeStream struct {
	h2Stream
	l      *edgeLink
	ways   *Ways
	client exchange.Client
	kind   string // what the edge says it is for, "" for a request
	source string // the client of a TCP stream; "" for all else

	packed []byte // what the head to send has its fields in
	fields [2]router.Field
}

// begin fills s for the stream that e tells of.
func (s *edgeStream) begin(l *edgeLink, e *h2.Event) {
	s.reset(&l.h2Link)
	s.l, s.ways, s.id, s.ended = l, l.entry.ways.Load(), e.Stream, e.End
	s.rate = l.server.settings.MinBodyRate
	s.waits, s.refusal, s.socket = false, 0, exchange.WebSocket{}
	s.kind, s.source = "", ""
	f := &s.flight
	f.Request = &s.request
	v := visitor{protocol: "HTTP/2.0"}
	if e.Kind == h2.HeadTooLarge {
		s.refusal = http.StatusRequestHeaderFieldsTooLarge
	} else {
		s.refusal = exchange.TranslateRequest(&s.request, e.Request, l.server.settings.Limits).Refusal
		s.identify(&v)
	}
	s.client = l.entry.client(s.ways, &v)
	f.init(l.server, s, &s.client)
	f.canceled, f.switches = exchange.CauseNone, false
	f.begin()
	if s.kind == edgewire.WebSocket {
		s.offer()
	}
}

// identify takes what the edge says of the client out of the request's fields.
func (s *edgeStream) identify(v *visitor) {
	r := &s.request
	kept, chain := r.Fields[:0], -1
	for _, field := range r.Fields {
		switch field.Name {
		case edgewire.StreamKind:
			s.kind = field.Value
			continue
		case edgewire.StreamSource:
			s.source = field.Value
			continue
		case edgewire.Client:
			if address, ok := edgewire.ParseClient(field.Value); ok {
				v.peer = netip.AddrPortFrom(address, 0)
			}
		case edgewire.Scheme:
			v.plain = field.Value == "http"
		case edgewire.Chain:
			chain = len(kept)
		}
		kept = append(kept, field)
	}
	if chain >= 0 && v.peer.IsValid() {
		if rest, cut := edgewire.CutClient(kept[chain].Value, v.peer.Addr()); cut && rest == "" {
			kept = append(kept[:chain], kept[chain+1:]...)
		} else if cut {
			kept[chain].Value = rest
		}
	}
	r.Fields, v.host = kept, r.Host
}

// offer makes the request one for a WebSocket.
func (s *edgeStream) offer() {
	r := &s.request
	r.Method, r.Upgrade, r.Framing, r.Length = http.MethodGet, exchange.WebSocketProtocol, h1.NoBody, 0
	s.socket.Key, _ = router.Lookup(r.Fields, "Sec-WebSocket-Key")
	if s.socket.Key == "" {
		s.socket = exchange.NewWebSocket()
		r.Fields = append(r.Fields, router.Field{Name: "Sec-WebSocket-Key", Value: s.socket.Key})
	}
	if _, known := router.Lookup(r.Fields, "Sec-WebSocket-Version"); !known {
		r.Fields = append(r.Fields, router.Field{Name: "Sec-WebSocket-Version", Value: "13"})
	}
	s.flight.switches = true
}

// run serves the stream.
func (s *edgeStream) run() {
	l := s.l
	switch {
	case s.kind != "" && s.kind != edgewire.WebSocket:
		conn := s.connection()
		l.call(s.kind, conn)
		conn.finish()
	case s.kind == "" && s.source != "":
		s.serveTCP()
	default:
		s.serveRequest()
		l.close(s)
		l.server.edgeStreams.Put(s)
		return
	}
	l.close(s) // who has served it may hold on to it
}

// serveRequest does the exchange.
func (s *edgeStream) serveRequest() {
	e := s.l.entry
	if !e.enter(s) {
		s.out = h2.Response{Status: http.StatusServiceUnavailable, Length: -1}
		s.pack()
		s.waits = true
		_ = s.end(nil) // the edge may be gone
		_ = s.flush()
		s.finish()
		return
	}
	defer e.leave(s)
	if s.ways.Guard != nil && s.ways.Guard(outline(&s.request)) != nil {
		e.bar(&s.client)
	}
	if s.refusal == 0 && !s.settleBody() {
		s.refusal = http.StatusRequestTimeout
	}
	if s.refusal != 0 {
		s.flight.refuse(exchange.Answer{Status: s.refusal, Cause: exchange.CauseBadRequest})
		return
	}
	s.flight.run(e.table())
}

// settleBody finds out whether there is a body, if that is not known: methods that usually
// have none are worth the wait for what follows the head, since many servers refuse such a
// body. It reports whether that came in time.
func (s *edgeStream) settleBody() bool {
	if s.request.Framing != h1.Chunked {
		return true
	}
	switch s.request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete:
	default:
		return true
	}
	if s.waitFor(time.Now().Add(s.l.server.settings.ReadHeaderTimeout)) != nil {
		return false
	}
	if s.complete() && len(s.trailers()) == 0 {
		s.request.Framing = h1.NoBody
	}
	return true
}

// outline is a request as a Guard sees it.
func outline(r *h1.Request) *http.Request {
	o := &http.Request{Method: r.Method, Host: r.Host, RequestURI: r.Target, Header: http.Header{}}
	for _, field := range r.Fields {
		o.Header.Add(field.Name, field.Value)
	}
	return o
}

// cancel ends the stream: nobody is there, or the time is over. mu is held.
func (s *edgeStream) cancel(cause exchange.Cause) {
	s.over(errStreamOver)
	s.flight.cancel(cause)
}

// cut ends the exchange at once. It is called by other goroutines.
func (s *edgeStream) cut() {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	s.cancel(exchange.CauseDrained)
}

// interim implements downstream. Interim responses do not reach clients.
func (s *edgeStream) interim(*h1.Response) error { return nil }

// head implements downstream, as h2Stream does.
func (s *edgeStream) head(res *h1.Response, now time.Time) error {
	s.out = s.flight.ResponseHead(res, now)
	s.pack()
	s.waits = true
	return nil
}

// pack puts all fields of the head to send into one.
func (s *edgeStream) pack() {
	s.packed = s.packed[:0]
	for i := range s.out.Fields {
		field := &s.out.Fields[i]
		if len(field.Name) == len("content-length") && strings.EqualFold(field.Name, "content-length") || edgewire.Controls(field.Name) {
			continue
		}
		s.packed = edgewire.AppendPair(s.packed, field.Name, field.Value)
	}
	if s.out.Length >= 0 && s.out.Status != http.StatusNoContent {
		s.packed = edgewire.AppendPair(s.packed, "Content-Length", strconv.FormatInt(s.out.Length, 10))
	}
	s.fields = [2]router.Field{
		{Name: edgewire.Packed, Value: unsafe.String(unsafe.SliceData(s.packed), len(s.packed))}, // valid as long as the head is
		{Name: edgewire.Meta, Value: edgewire.MetaOrigin},
	}
	s.out.Fields = s.fields[:]
}

func (s *edgeStream) answer(a exchange.Answer, now time.Time) error {
	s.out, s.pending = s.flight.AnsweredHead(a, now)
	s.pack()
	s.waits = true
	if err := s.end(nil); err != nil {
		return err
	}
	return s.flush()
}

// upgrade implements downstream: 101 becomes 200, and its fields say the rest.
func (s *edgeStream) upgrade(res *h1.Response) (conn net.Conn, pending []byte, err error) {
	s.out = h2.Response{Status: http.StatusOK, Length: -1, Fields: append(s.flight.SwitchFields(res),
		router.Field{Name: "Connection", Value: "Upgrade"}, router.Field{Name: "Upgrade", Value: res.Upgrade})}
	s.pack()
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if err = s.codec().WriteResponse(s.id, &s.out); err != nil {
		return nil, nil, err
	}
	s.link.flush()
	return &h2Tunnel{flow: &s.h2Flow}, nil, nil
}

// gone implements downstream.
func (s *edgeStream) gone() bool {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	return s.failure() != nil
}

// connection is the stream for who is not an exchange.
func (s *edgeStream) connection() *edgeConn {
	return &edgeConn{h2Tunnel: h2Tunnel{flow: &s.h2Flow}, client: &net.TCPAddr{}, head: h2.Response{Status: http.StatusOK, Length: -1}}
}

// serveTCP serves a TCP stream.
func (s *edgeStream) serveTCP() {
	conn := s.connection()
	if source, err := netip.ParseAddrPort(s.source); err == nil {
		conn.client = net.TCPAddrFromAddrPort(source)
	}
	s.out = conn.head
	if key, ok := router.Lookup(s.request.Fields, "Sec-WebSocket-Key"); ok {
		socket := exchange.WebSocket{Key: key}
		s.out.Fields = []router.Field{{Name: "Connection", Value: "Upgrade"}, {Name: "Upgrade", Value: "websocket"},
			{Name: "Sec-WebSocket-Accept", Value: socket.Accept()}}
	}
	s.pack()
	conn.head = s.out
	s.l.entry.ServeStream(conn, s.request.Host)
	conn.refusal = h2.Response{Status: http.StatusBadGateway, Length: -1, End: true, Fields: []router.Field{{Name: edgewire.Meta, Value: edgewire.MetaConnector}}}
	conn.finish()
}
