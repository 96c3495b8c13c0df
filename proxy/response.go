package proxy

import (
	"io"
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/router"
)

// maxInterim bounds the 1xx responses before a final one: 102 (Processing) may
// come every few seconds, but not forever.
const maxInterim = 100

// receive reads the response and sends it to the client, interim ones first.
func (f *flight) receive() Cause {
	for interim := 0; ; interim++ {
		if cause := f.receiveHead(); cause != CauseNone {
			return cause
		}
		status := f.response.Status
		switch {
		case status == http.StatusSwitchingProtocols:
			return f.upgrade()
		case status >= 200:
			return f.deliver()
		case interim == maxInterim:
			return CauseUpstreamInvalid
		case status != http.StatusContinue || !f.continued:
			if cause := f.relayInterim(); cause != CauseNone {
				return cause
			}
		}
		f.res.compact()
	}
}

// receiveHead reads one head.
func (f *flight) receiveHead() Cause {
	for {
		n, err := f.response.Parse(f.res.unread(), f.settings.Limits, f.request.Method)
		if err != nil {
			return CauseUpstreamInvalid
		}
		if n > 0 {
			f.res.r += n
			return CauseNone
		}
		if cause := f.fill(f.settings.ResponseHeaderTimeout); cause != CauseNone {
			return cause
		}
		f.responded = true
	}
}

// fill reads more of the response into f.res. limit bounds how long the upstream
// may be silent.
func (f *flight) fill(limit time.Duration) Cause {
	up := f.up
	// progress is just now, or else silence sets the deadline right.
	up.readBy.wake(f.progress, earlier(f.attemptBy, f.progress.Add(limit)))
	for {
		n, err := up.conn.Read(f.res.room())
		f.res.w += n
		if n > 0 {
			return CauseNone
		}
		if !isTimeout(err) {
			f.closed = err == io.EOF
			return CauseUpstreamReset
		}
		if cause := f.silence(limit); cause != CauseNone {
			return cause
		}
	}
}

// silence is called now and then while the upstream sends nothing. It looks at
// the clock, and whether the client still waits.
func (f *flight) silence(limit time.Duration) Cause {
	now := time.Now()
	if !now.Before(f.attemptBy) {
		return CauseTimeout
	}
	if f.c.gone() {
		return CauseClientGone
	}
	if f.body.running && !f.body.ended.Load() {
		// The upstream has not got all of the request; its goroutine has its own
		// limits.
		f.progress = now
	}
	if now.Sub(f.progress) >= limit {
		return CauseTimeout
	}
	f.up.readBy.wake(now, earlier(f.attemptBy, f.progress.Add(limit)))
	return f.encourage(now)
}

// encourage sends 100 (Continue) on behalf of an upstream that does not know it,
// or does not bother, so that the client sends its body. Passing on both the
// expectation and the upstream's own 100 lets the upstream refuse a body before
// it is sent (RFC 9110 §10.1.1); answering ourselves after a while helps clients
// that would wait forever. Once the final response has begun it is too late: the
// client would take the 100 for a part of it.
func (f *flight) encourage(now time.Time) Cause {
	if f.continued || f.answered || now.Sub(f.sent) < continueTimeout {
		return CauseNone
	}
	f.continued = true
	return f.send([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
}

// relayInterim passes a 1xx on. HTTP/1.0 knows none (RFC 9110 §15.2).
func (f *flight) relayInterim() Cause {
	if f.request.Minor == 0 {
		return CauseNone
	}
	if f.response.Status == http.StatusContinue {
		f.continued = true
	}
	dst := h1.AppendStatusLine(f.out[:0], f.response.Status, f.response.Reason)
	for i := range f.response.Fields {
		field := &f.response.Fields[i]
		if !f.response.HopByHop(field.Name) && classify(field.Name) != isLength {
			dst = h1.AppendField(dst, field.Name, field.Value)
		}
	}
	f.out = h1.AppendCRLF(dst)
	return f.write(nil)
}

// deliver sends the final response to the client, as it comes.
func (f *flight) deliver() Cause {
	f.answered = true
	f.seen.Status = f.response.Status
	f.progress = time.Now()
	f.seen.UpstreamLatency = f.progress.Sub(f.seen.Start)
	if !f.continued {
		// The client may or may not send its body now.
		f.keep = false
	}
	f.payload.Reset(f.response.Framing, f.response.Length, f.settings.Limits)
	framing := f.framing()
	f.out = f.appendResponse(f.out[:0], framing)

	cause := f.deliverBody(framing)
	if cause != CauseNone && framing == h1.UntilClose {
		f.c.reset() // else the client takes what it has for all of it
	}
	f.ended = cause == CauseNone
	f.seen.Duration = time.Since(f.seen.Start)
	return cause
}

// framing chooses how the client learns where the response ends.
func (f *flight) framing() h1.Framing {
	switch framing := f.response.Framing; {
	case framing == h1.NoBody, framing == h1.Length:
		return framing
	case f.request.Minor == 0:
		f.keep = false
		return h1.UntilClose
	default:
		return h1.Chunked
	}
}

// appendResponse appends the head for the client.
func (f *flight) appendResponse(dst []byte, framing h1.Framing) []byte {
	r := &f.response
	fields, filtered := f.responseFields()
	dst = h1.AppendStatusLine(dst, r.Status, r.Reason)
	dated := false
	for i := range fields {
		field := &fields[i]
		if filtered && !forwardable(field) {
			continue
		}
		dst = h1.AppendField(dst, field.Name, field.Value)
		dated = dated || len(field.Name) == 4 && folds(field.Name, "date")
	}
	if !dated { // RFC 9110 §6.6.1
		dst = h1.AppendField(dst, "Date", f.c.server.date.now(f.progress))
	}
	switch framing {
	case h1.Length:
		dst = h1.AppendLength(dst, r.Length)
	case h1.Chunked:
		dst = h1.AppendChunked(dst)
	case h1.NoBody:
		// Says what a GET would have brought (RFC 9110 §8.6).
		if size, ok := router.Lookup(r.Fields, "Content-Length"); ok && r.Status != http.StatusNoContent {
			dst = h1.AppendField(dst, "Content-Length", size)
		}
	}
	dst = f.appendPersistence(dst)
	return h1.AppendCRLF(dst)
}

// responseFields returns the upstream's fields without those of the connection,
// changed by the filters, and whether there were any.
func (f *flight) responseFields() (fields []router.Field, filtered bool) {
	fields = f.fields[:0]
	for i := range f.response.Fields {
		field := &f.response.Fields[i]
		if !f.response.HopByHop(field.Name) && classify(field.Name) != isLength {
			fields = append(fields, *field)
		}
	}
	inner, outer := f.chosen.ResponseHeaders, f.rule.Action.ResponseHeaders
	fields = outer.Apply(inner.Apply(fields))
	f.fields = fields
	return fields, inner != nil || outer != nil
}

// deliverBody sends what of the body is there, and then what comes, without
// waiting for more than one read brought.
func (f *flight) deliverBody(framing h1.Framing) Cause {
	for {
		if cause := f.passOn(framing); cause != CauseNone {
			return cause
		}
		if f.payload.Done() {
			return CauseNone
		}
		if f.spliceable() {
			return f.splice()
		}
		f.res.compact()
		cause := f.fill(f.settings.BodyTimeout)
		if f.closed && f.payload.EOF() == nil {
			// The body lasted until the upstream closed. A reset is no such end, and
			// neither is that requestBody gave the connection up.
			return f.passOn(framing)
		}
		if cause != CauseNone {
			return cause
		}
		f.progress = time.Now()
	}
}

// passOn sends the payload in f.res.
func (f *flight) passOn(framing h1.Framing) Cause {
	for len(f.res.unread()) > 0 && !f.payload.Done() {
		n, data, err := f.payload.Next(f.res.unread())
		f.res.r += n
		if cause := f.pass(data, framing); cause != CauseNone {
			return cause
		}
		if err != nil {
			f.write(nil) // what came before the mistake
			return CauseUpstreamInvalid
		}
	}
	if f.payload.Done() && framing == h1.Chunked {
		f.responseTrailers(&f.payload)
		f.out = h1.AppendLastChunk(f.out, f.payload.Trailers())
	}
	return f.write(nil)
}

// pass sends data, or keeps it in f.out for passOn to send together with what
// follows.
func (f *flight) pass(data []byte, framing h1.Framing) Cause {
	if len(data) == 0 {
		return CauseNone
	}
	f.seen.Sent += int64(len(data))
	if framing != h1.Chunked {
		return f.write(data)
	}
	if cap(f.out)-len(f.out) < len(data)+chunkOverhead {
		if cause := f.write(nil); cause != CauseNone {
			return cause
		}
	}
	f.out = h1.AppendChunk(f.out, data)
	return CauseNone
}

// chunkOverhead bounds the bytes of framing around a chunk.
const chunkOverhead = 16 + 2*len("\r\n")

// reusable reports whether the upstream connection can take another request.
func (f *flight) reusable() bool {
	return f.response.KeepAlive && f.response.Framing != h1.UntilClose && f.payload.Done() &&
		len(f.res.unread()) == 0 && f.body.complete() && !f.body.refused && !f.cut && f.response.Status != http.StatusSwitchingProtocols
}
