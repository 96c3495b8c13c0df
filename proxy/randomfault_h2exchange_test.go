package proxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// h2Exchange is the client's part in one exchange.
type h2Exchange struct {
	*h2Request
	c *framingClient

	// Guarded by c.mu.
	stream  uint32
	window  int64 // for payload that comes
	kept    int64 // by which that is not opened, in a pause
	opened  int   // how often it was
	resumed bool  // the pause is over
	sent    int   // of the payload
	closed  bool  // END_STREAM was sent
	left    bool  // the client has done what it leaves by
	reset   bool  // it has sent RST_STREAM, and
	sealed  bool  // the gateway knows
	status  int
	from    string // whose response it is
	body    bytes.Buffer
	ended   bool          // END_STREAM has come
	refused bool          // RST_STREAM has come, and
	why     http2.ErrCode // its code
}

func (x *h2Exchange) String() string {
	return fmt.Sprintf("%d, %d bytes, ended %v; refused %v, %v; sent %d bytes, closed %v, left %v, reset %v; disturbed %v: %s",
		x.status, x.body.Len(), x.ended, x.refused, x.why, x.sent, x.closed, x.left, x.reset, x.c.disturbed, x.h2Request)
}

// run makes the exchange.
func (x *h2Exchange) run() {
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead == nil && !c.broken {
		x.begin()
		x.send()
	}
	c.goOn()
	c.changed.Broadcast()
	for !x.over() {
		c.changed.Wait()
	}
}

// over reports whether nothing more is to happen.
func (x *h2Exchange) over() bool {
	return x.c.dead != nil || x.refused || x.reset || x.ended && (x.closed || x.left)
}

// sends reports whether the client sends on.
func (x *h2Exchange) sends() bool {
	return !x.over() && !x.c.broken && (!x.left || x.wrecks())
}

// begin sends the head.
func (x *h2Exchange) begin() {
	x.c.add(x)
	ends := http2.Flags(0)
	if x.leaves == "ill" || x.posts == 0 && x.tail == "last" && x.flaw == nil {
		ends = endStream
		x.closed = true
	}
	x.left = x.leaves == "ill"
	x.head(ends, x.fields()...)
	x.open(0)
}

// head sends HEADERS, in as many frames as is planned.
func (x *h2Exchange) head(ends http2.Flags, pairs ...string) {
	p := http2.HeadersFrameParam{StreamID: x.stream, EndStream: ends.Has(endStream)}
	if x.spices {
		p.PadLength, p.Priority = uint8(x.pad), http2.PriorityParam{StreamDep: x.stream + 100, Weight: uint8(x.fault)}
	}
	x.headers(p, pairs...)
}

func (x *h2Exchange) headers(p http2.HeadersFrameParam, pairs ...string) {
	c := x.c
	c.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = c.hpack.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	block := c.block.Bytes()
	n := len(block)
	if x.split > 0 {
		n = min(n, x.split)
	}
	p.BlockFragment, p.EndHeaders = block[:n], n == len(block)
	_ = c.frames.WriteHeaders(p)
	for block = block[n:]; len(block) > 0; block = block[n:] {
		n = min(x.split, len(block))
		_ = c.frames.WriteContinuation(x.stream, n == len(block), block[:n])
	}
}

// raw sends a frame without looking at it.
func (x *h2Exchange) raw(kind http2.FrameType, flags http2.Flags, payload string) {
	x.c.out.WriteString(rawFrame(kind, flags, x.stream, payload))
}

// send sends what follows the head.
func (x *h2Exchange) send() {
	body := x.payload()
	for x.sends() {
		if x.sending && x.sent == x.leaveAt && !x.left {
			x.leave()
			continue
		}
		n := min(x.piece, len(body)-x.sent)
		if x.sending && x.sent < x.leaveAt {
			n = min(n, x.leaveAt-x.sent)
		}
		if x.sent < x.posts && x.fault%2 == 0 {
			n = min(n, x.posts-x.sent) // what is beyond comes alone
		}
		if n == 0 {
			break
		}
		last := x.sent+n == len(body) && x.tail == "last" && !(x.sending && x.sent+n == x.leaveAt)
		x.payloadFrame(body[x.sent:x.sent+n], last)
	}
	if x.sends() && !x.closed {
		x.end()
	}
}

// payloadFrame sends DATA, once there is room for it.
func (x *h2Exchange) payloadFrame(payload string, last bool) {
	var pad []byte
	size := int64(len(payload))
	if x.pad > 0 {
		pad = make([]byte, x.pad)
		size += int64(1 + len(pad))
	}
	c := x.c
	c.changed.Broadcast()
	for x.sends() && (size > c.room.left(x.stream) || c.out.Len() > backlog) {
		c.changed.Wait()
	}
	if !x.sends() {
		return
	}
	if x.spices && c.random.IntN(4) == 0 {
		_ = c.frames.WritePriority(x.stream, http2.PriorityParam{StreamDep: x.stream + 100})
		x.raw(0xbe, 0, "unknown")
		x.raw(http2.FrameData, 0, "")
	}
	c.room.spend(x.stream, size)
	_ = c.frames.WriteDataPadded(x.stream, last, []byte(payload), pad)
	x.sent += len(payload)
	x.closed = x.closed || last
	x.left = x.left || x.leaves == "short" && last || x.leaves == "long" && x.sent > x.posts
}

// end ends the request.
func (x *h2Exchange) end() {
	if x.closed {
		return
	}
	x.closed = true
	x.left = x.left || x.leaves == "short"
	if x.tail == "trailers" {
		x.head(endStream, "x-trail", x.id())
	} else {
		_ = x.c.frames.WriteData(x.stream, true, nil)
	}
}

// leave does what the client leaves by.
func (x *h2Exchange) leave() {
	x.left = true
	switch x.leaves {
	case "resets", "starves":
		x.reset = true
		_ = x.c.frames.WriteRSTStream(x.stream, x.code)
		token := [8]byte{'S'}
		binary.BigEndian.PutUint32(token[4:], x.stream)
		_ = x.c.frames.WritePing(false, token)
	case "errs":
		x.flaw.does(x)
	case "breaks":
		x.c.breaks(x)
	default:
		x.c.cut(x)
	}
	x.c.changed.Broadcast()
}

// got leaves where it is planned for what has come.
func (x *h2Exchange) got() {
	if !x.sending && !x.left && !x.over() && !x.c.broken && x.body.Len() >= x.leaveAt {
		x.leave()
	}
}

// refuse takes RST_STREAM, answer a head and data DATA.
func (x *h2Exchange) refuse(code http2.ErrCode) {
	unread := code == http2.ErrCodeNo && (x.early || x.status != 200)
	if x.refused || x.sealed || x.ended && !unread && !x.left {
		x.c.r.t.Errorf("RST_STREAM of %v to %v", code, x)
	}
	x.refused, x.why = true, code
}

func (x *h2Exchange) answer(f *http2.MetaHeadersFrame) {
	if x.status != 0 || x.refused || x.sealed {
		x.c.r.t.Errorf("%v to %v", f, x)
	}
	x.status, _ = strconv.Atoi(f.PseudoValue("status"))
	for _, field := range f.RegularFields() {
		if field.Name == "x-id" {
			x.from = field.Value
		}
	}
	x.ended = f.StreamEnded()
	x.got()
}

func (x *h2Exchange) data(f *http2.DataFrame) {
	if x.window -= int64(f.Length); f.Length > 0 && x.window < 0 || x.status == 0 || x.ended || x.refused || x.sealed {
		x.c.r.t.Errorf("DATA of %d bytes in a window of %d to %v", f.Length, x.window+int64(f.Length), x)
	}
	x.body.Write(f.Data())
	x.ended = x.ended || f.StreamEnded()
	x.open(int64(f.Length))
	x.got()
}

// pausing reports whether the client opens no window until nothing else goes on.
func (x *h2Exchange) pausing() bool {
	return x.opens == "pauses" && !x.resumed && x.status != 0 && x.body.Len() >= x.pauseAt
}

// open lets the gateway send more, where n bytes were used.
func (x *h2Exchange) open(n int64) {
	switch {
	case x.over() || x.ended || x.left && !x.wrecks() || x.c.broken:
		return
	case x.pausing():
		x.kept += n
		return
	case x.opens == "late" && x.window > 0:
		return
	case x.opens == "late":
		if x.opened++; x.opened < 10 {
			n = 1 + x.c.random.Int64N(50)
		} else {
			n = 2000 + x.c.random.Int64N(50_000)
		}
		n -= x.window
	}
	if n > 0 {
		x.window += n
		_ = x.c.frames.WriteWindowUpdate(x.stream, uint32(n))
	}
}

// resume ends the pause.
func (x *h2Exchange) resume() {
	x.resumed = true
	if x.leaves == "starves" && !x.left {
		x.leave()
		return
	}
	x.open(x.kept)
}

// asked reports whether the gateway can know all of the request.
func (x *h2Exchange) asked() bool { return x.sent >= x.posts && (x.counted || x.closed) }

// fits reports whether the client may get this.
func (x *h2Exchange) fits() bool {
	n := x.body.Len()
	switch {
	case x.status == 200 && (x.from != x.id() || !strings.HasPrefix(text(x.id(), x.size), x.body.String())):
		return false // it is another's
	case !x.ended && (x.c.disturbed || x.reset):
		return x.status == 0 || x.status == 200 || x.right(x.status, n, false)
	case !x.ended && x.left && x.refused:
		return x.why == x.blame() || x.why == http2.ErrCodeInternal && x.status == 200 && x.right(200, n, true)
	case !x.ended:
		return x.refused && x.why == http2.ErrCodeInternal && x.status == 200 && x.right(200, n, true)
	case x.leaves == "ill", x.status == 200 && !x.asked() && !x.early:
		return false
	}
	return x.right(x.status, n, false)
}

// blame is the code that the client's mistake is answered with.
func (x *h2Exchange) blame() http2.ErrCode {
	if x.flaw != nil {
		return x.flaw.code
	}
	return http2.ErrCodeProtocol
}

// fitsReport reports whether this is what has happened.
func (x *h2Exchange) fitsReport(rep *Report) bool {
	n, gone := int64(x.body.Len()), x.c.disturbed || x.left
	switch {
	case x.status != 0 && rep.Status != x.status, rep.Protocol != "HTTP/2.0", n > rep.Sent:
		return false
	case x.ended && x.status == 200 && !gone:
		return rep.Cause == exchange.CauseNone && rep.Sent == n && (x.early || rep.Received == int64(x.posts))
	}
	switch rep.Cause {
	case exchange.CauseClientGone:
		return gone
	case exchange.CauseNone:
		return rep.Status == 200 && gone && x.right(200, int(rep.Sent), false)
	}
	return rep.Cause == x.cause() && x.right(rep.Status, int(rep.Sent), true)
}

// cause is how the upstream's fault is reported.
func (p *h2Request) cause() exchange.Cause {
	switch p.ends {
	case "stalls":
		return exchange.CauseTimeout
	case "garbles":
		return exchange.CauseUpstreamInvalid
	}
	return exchange.CauseUpstreamReset
}
