package proxy

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"golang.org/x/net/http2"
)

// h2Request is a planned exchange whose client writes frames of HTTP/2 itself. Its leaves is
//
//	resets   RST_STREAM with code
//	starves  ... once nothing else goes on, with no window opened from leaveAt on
//	ill      a head that no request may have
//	short    END_STREAM, short of content-length
//	long     more payload than content-length says
//	errs     by flaw, which ends the stream
//	breaks   what ends the connection
//	closes   the end of the connection, maybe in a frame
//	aborts   a reset of the connection, maybe in a frame
type h2Request struct {
	*planned
	sending bool          // leaveAt is of the payload that the client sends, not of what it gets
	more    int           // bytes of the connection from there to its end
	code    http2.ErrCode // of resets
	flaw    *h2Flaw
	fault   int // which of several, else

	counted bool   // the request has a content-length
	tail    string // how it ends: with its last DATA, "empty" DATA or "trailers"
	piece   int    // of payload in each DATA
	pad     int    // and of padding
	split   int    // bytes of a head in each of its frames, 0 is all
	spices  bool   // frames that mean nothing come between

	opens   string // the window of the response: "eagerly", "late" when it is used up, or "pauses"
	pauseAt int    // ... until nothing else goes on, once so much has come
}

func planH2Request(number uint64) *h2Request {
	random := rand.New(rand.NewPCG(number, 9))
	p := &h2Request{
		planned: plan(number), counted: random.IntN(2) == 0, tail: pick(random, "last", "last", "empty", "trailers"),
		pad: max(0, random.IntN(300)-200), split: pick(random, 0, 20+random.IntN(50)), spices: random.IntN(4) == 0,
		opens: pick(random, "eagerly", "eagerly", "late", "pauses"), fault: random.IntN(1000),
	}
	p.piece = max(pick(random, 16<<10-200, 1+random.IntN(5000)), p.posts/100)
	p.pauseAt = pick(random, 0, random.IntN(100), random.IntN(p.size+1))
	p.leaves, p.leaveAt = "", math.MaxInt
	if random.IntN(3) == 0 {
		p.planLeave(random)
	}
	return p
}

func (p *h2Request) planLeave(random *rand.Rand) {
	p.leaves = pick(random, "resets", "resets", "resets", "resets", "starves", "starves", "ill", "short", "short", "long", "long",
		"errs", "errs", "errs", "errs", "breaks", "closes", "aborts")
	p.code = pick(random, http2.ErrCodeCancel, http2.ErrCodeNo, http2.ErrCodeRefusedStream, http2.ErrCode(random.IntN(14)), 0xbeef)
	p.sending = random.IntN(2) == 0
	p.more = pick(random, 0, random.IntN(30), random.IntN(3000))
	switch p.leaves {
	case "ill":
		return
	case "short", "long":
		p.counted, p.posts = true, max(p.posts, 1+random.IntN(20_000))
		return
	case "starves":
		p.sending, p.opens = false, "pauses"
	case "errs":
		if p.flaw = &h2Flaws[p.fault%len(h2Flaws)]; p.flaw.amid {
			p.sending, p.posts = true, max(p.posts, 1+random.IntN(20_000))
		}
	}
	p.leaveAt = pick(random, 0, random.IntN(100), random.IntN(p.size+1))
	if p.sending {
		p.leaveAt = pick(random, 0, random.IntN(p.posts+1), p.posts)
	}
	if p.leaves == "starves" {
		p.pauseAt, p.leaveAt = p.leaveAt, math.MaxInt
	}
	if p.flaw != nil && p.flaw.behind {
		p.sending, p.leaveAt = true, p.posts
	}
}

// wrecks reports whether the connection may end with the exchange.
func (p *h2Request) wrecks() bool {
	return p.leaves == "breaks" || p.leaves == "closes" || p.leaves == "aborts"
}

func (p *h2Request) String() string {
	return fmt.Sprintf("leaves %s at %d (sending %v, more %d, code %v, fault %d), counted %v, tail %s, piece %d, pad %d, split %d, spices %v, opens %s, pauses at %d: %s",
		p.leaves, p.leaveAt, p.sending, p.more, p.code, p.fault, p.counted, p.tail, p.piece, p.pad, p.split, p.spices, p.opens, p.pauseAt, p.planned)
}

// fields are those of the head.
func (p *h2Request) fields() []string {
	fields := []string{":method", "GET", ":scheme", "http", ":authority", "app.test", ":path", p.path(), "x-id", p.id()}
	if p.posts > 0 {
		fields[1] = "POST"
	}
	if p.counted {
		fields = append(fields, "content-length", fmt.Sprint(p.posts))
	}
	if p.leaves == "ill" {
		bad := [][]string{{":path", "/"}, {"X-Upper", "1"}, {"connection", "close"}, {"te", "gzip"}, {"content-length", "-1"}, {"x", "a\nb"}}
		fields = append(fields, bad[p.fault%len(bad)]...)
	}
	return fields
}

// payload is the body that is sent.
func (p *h2Request) payload() string {
	body := text(p.id(), p.posts)
	switch p.leaves {
	case "short":
		return body[:p.number%uint64(p.posts)]
	case "long":
		return body + "x"
	}
	return body
}

// h2Flaw is what a client does wrong on a stream, which ends the stream alone.
type h2Flaw struct {
	code   http2.ErrCode
	amid   bool // the request has not ended before
	behind bool // ... and it has
	does   func(*h2Exchange)
}

var h2Flaws = []h2Flaw{
	{http2.ErrCodeProtocol, true, false, func(x *h2Exchange) { x.head(endStream, ":path", "/") }},
	{http2.ErrCodeProtocol, true, false, func(x *h2Exchange) { x.head(0, "x-trail", x.id()) }},
	{http2.ErrCodeProtocol, true, false, func(x *h2Exchange) { x.head(endStream, "connection", "close") }},
	{http2.ErrCodeProtocol, true, false, func(x *h2Exchange) { x.head(endStream, "content-length", "1") }},
	{http2.ErrCodeProtocol, true, false, func(x *h2Exchange) { x.head(endStream, "X-Trail", "1") }},
	{http2.ErrCodeProtocol, true, false, func(x *h2Exchange) {
		x.headers(http2.HeadersFrameParam{StreamID: x.stream, EndStream: true, Priority: http2.PriorityParam{StreamDep: x.stream}}, "x-trail", "1")
	}},
	{http2.ErrCodeStreamClosed, false, true, func(x *h2Exchange) {
		x.end()
		x.raw(http2.FrameData, 0, "more")
		x.c.room.spend(x.stream, int64(len("more")))
	}},
	{http2.ErrCodeProtocol, false, false, func(x *h2Exchange) { x.raw(http2.FrameWindowUpdate, 0, "\x00\x00\x00\x00") }},
	{http2.ErrCodeFlowControl, false, false, func(x *h2Exchange) {
		x.raw(http2.FrameWindowUpdate, 0, "\x7f\xff\xff\xff")
		x.raw(http2.FrameWindowUpdate, 0, "\x7f\xff\xff\xff")
	}},
	{http2.ErrCodeProtocol, false, false, func(x *h2Exchange) {
		x.raw(http2.FramePriority, 0, string(binary.BigEndian.AppendUint32(nil, x.stream))+"\x00")
	}},
	{http2.ErrCodeFrameSize, false, false, func(x *h2Exchange) { x.raw(http2.FramePriority, 0, "\x00\x00\x00\x00") }},
}

// breaches are what ends a connection of HTTP/2 on which a stream is open.
var breaches = []func(stream uint32) string{
	func(uint32) string { return "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" },
	func(uint32) string { return rawFrame(http2.FrameData, 0, 0, "on the connection") },
	func(id uint32) string { return rawFrame(http2.FrameData, 0, id+2000, "on an idle stream") },
	func(id uint32) string { return rawFrame(http2.FrameData, http2.FlagDataPadded, id, "\xff of padding") },
	func(uint32) string { return rawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 2, "\x88") },
	func(id uint32) string {
		return rawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, id, "\xff\xff\xff\xff\xff\xff")
	},
	func(id uint32) string {
		return rawFrame(http2.FrameHeaders, 0, id, "\x88") + rawFrame(http2.FrameData, 0, id, "amid a head")
	},
	func(id uint32) string {
		return rawFrame(http2.FrameContinuation, http2.FlagContinuationEndHeaders, id, "\x88")
	},
	func(id uint32) string {
		return rawFrame(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, id, "\x00\x00\x00\x02\x88")
	},
	func(id uint32) string { return rawFrame(http2.FrameRSTStream, 0, id+2000, "\x00\x00\x00\x00") },
	func(id uint32) string { return rawFrame(http2.FrameRSTStream, 0, id, "\x00") },
	func(uint32) string { return rawFrame(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00") },
	func(uint32) string {
		return strings.Repeat(rawFrame(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff"), 2)
	},
	func(uint32) string { return rawFrame(http2.FrameSettings, 0, 0, "\x00\x04\x7f\xff\xff") },
	func(uint32) string { return rawFrame(http2.FrameSettings, 0, 0, "\x00\x04\xff\xff\xff\xff") },
	func(id uint32) string { return rawFrame(http2.FrameSettings, 0, id, "") },
	func(uint32) string { return rawFrame(http2.FramePing, 0, 0, "seven..") },
	func(uint32) string { return rawFrame(http2.FrameGoAway, 0, 0, "\x00") },
	func(id uint32) string { return rawFrame(0xbe, 0, id, strings.Repeat("large", 4000)) },
}
