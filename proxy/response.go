package proxy

import (
	"io"
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// maxInterim bounds the 1xx responses before a final one: 102 (Processing) may
// come every few seconds, but not exchange.Forever.
const maxInterim = 100

// receive reads the response and sends it to the client, interim ones first.
func (f *flight) receive() exchange.Cause {
	for interim := 0; ; interim++ {
		if cause := f.receiveHead(); cause != exchange.CauseNone {
			return cause
		}
		status := f.response.Status
		switch {
		case status == http.StatusSwitchingProtocols:
			return f.upgrade()
		case status >= 200:
			return f.deliver()
		case interim == maxInterim:
			return exchange.CauseUpstreamInvalid
		case status != http.StatusContinue || !f.continued:
			if cause := f.relayInterim(); cause != exchange.CauseNone {
				return cause
			}
		}
		f.res.compact()
	}
}

// receiveHead reads one head.
func (f *flight) receiveHead() exchange.Cause {
	for {
		n, err := f.response.Parse(f.res.unread(), f.Settings.Limits, f.Request.Method)
		if err != nil {
			return exchange.CauseUpstreamInvalid
		}
		if n > 0 {
			f.res.r += n
			return exchange.CauseNone
		}
		if cause := f.fill(f.Settings.ResponseHeaderTimeout); cause != exchange.CauseNone {
			return cause
		}
		f.responded = true
	}
}

// fill reads more of the response into f.res. limit bounds how long the upstream
// may be silent.
func (f *flight) fill(limit time.Duration) exchange.Cause {
	up := f.up
	// progress is just now, or else silence sets the deadline right.
	up.readBy.wake(f.progress, earlier(f.attemptBy, f.progress.Add(limit)))
	for {
		n, err := up.conn.Read(f.res.room())
		f.res.w += n
		if n > 0 {
			return exchange.CauseNone
		}
		if !isTimeout(err) {
			f.closed = err == io.EOF
			return exchange.CauseUpstreamReset
		}
		if cause := f.silence(limit); cause != exchange.CauseNone {
			return cause
		}
	}
}

// silence is called now and then while the upstream sends nothing. It looks at
// the clock, and whether the client still waits.
func (f *flight) silence(limit time.Duration) exchange.Cause {
	now := time.Now()
	if !now.Before(f.attemptBy) {
		return exchange.CauseTimeout
	}
	if f.c.gone() {
		return exchange.CauseClientGone
	}
	if f.body.running && !f.body.ended.Load() {
		// The upstream has not got all of the request; its goroutine has its own
		// limits.
		f.progress = now
	}
	if now.Sub(f.progress) >= limit {
		return exchange.CauseTimeout
	}
	f.up.readBy.wake(now, earlier(f.attemptBy, f.progress.Add(limit)))
	return f.encourage(now)
}

// encourage sends 100 (Continue) on behalf of an upstream that does not know it,
// or does not bother, so that the client sends its body. Passing on both the
// expectation and the upstream's own 100 lets the upstream refuse a body before
// it is sent (RFC 9110 §10.1.1); answering ourselves after a while helps clients
// that would wait exchange.Forever. Once the final response has begun it is too late: the
// client would take the 100 for a part of it.
func (f *flight) encourage(now time.Time) exchange.Cause {
	if f.continued || f.answered || now.Sub(f.sent) < exchange.ContinueTimeout {
		return exchange.CauseNone
	}
	f.continued = true
	return f.send([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
}

// relayInterim passes a 1xx on. HTTP/1.0 knows none (RFC 9110 §15.2).
func (f *flight) relayInterim() exchange.Cause {
	if f.Request.Minor == 0 {
		return exchange.CauseNone
	}
	if f.response.Status == http.StatusContinue {
		f.continued = true
	}
	f.out = exchange.AppendInterim(f.out[:0], &f.response)
	return f.write(nil)
}

// deliver sends the final response to the client, as it comes.
func (f *flight) deliver() exchange.Cause {
	f.answered = true
	f.Report.Status = f.response.Status
	f.progress = time.Now()
	f.Report.UpstreamLatency = f.progress.Sub(f.Report.Start)
	if !f.continued {
		// The client may or may not send its body now.
		f.Keep = false
	}
	f.payload.Reset(f.response.Framing, f.response.Length, f.Settings.Limits)
	framing := f.Framing(&f.response)
	if f.c.draining.Load() {
		f.Keep = false
	}
	f.out = f.AppendResponse(f.out[:0], &f.response, framing, f.progress)

	cause := f.deliverBody(framing)
	if cause != exchange.CauseNone && framing == h1.UntilClose {
		f.c.reset() // else the client takes what it has for all of it
	}
	f.ended = cause == exchange.CauseNone
	f.Report.Duration = time.Since(f.Report.Start)
	return cause
}

// deliverBody sends what of the body is there, and then what comes, without
// waiting for more than one read brought.
func (f *flight) deliverBody(framing h1.Framing) exchange.Cause {
	for {
		if cause := f.passOn(framing); cause != exchange.CauseNone {
			return cause
		}
		if f.payload.Done() {
			return exchange.CauseNone
		}
		if f.spliceable() {
			return f.splice()
		}
		f.res.compact()
		cause := f.fill(f.Settings.BodyTimeout)
		if f.closed && f.payload.EOF() == nil {
			// The body lasted until the upstream closed. A reset is no such end, and
			// neither is that requestBody gave the connection up.
			return f.passOn(framing)
		}
		if cause != exchange.CauseNone {
			return cause
		}
		f.progress = time.Now()
	}
}

// passOn sends the payload in f.res.
func (f *flight) passOn(framing h1.Framing) exchange.Cause {
	for len(f.res.unread()) > 0 && !f.payload.Done() {
		n, data, err := f.payload.Next(f.res.unread())
		f.res.r += n
		if cause := f.pass(data, framing); cause != exchange.CauseNone {
			return cause
		}
		if err != nil {
			f.write(nil) // what came before the mistake
			return exchange.CauseUpstreamInvalid
		}
	}
	if f.payload.Done() && framing == h1.Chunked {
		f.DropResponseTrailers(&f.payload, &f.response)
		f.out = h1.AppendLastChunk(f.out, f.payload.Trailers())
	}
	return f.write(nil)
}

// pass sends data, or keeps it in f.out for passOn to send together with what
// follows.
func (f *flight) pass(data []byte, framing h1.Framing) exchange.Cause {
	if len(data) == 0 {
		return exchange.CauseNone
	}
	f.Report.Sent += int64(len(data))
	if framing != h1.Chunked {
		return f.write(data)
	}
	if cap(f.out)-len(f.out) < len(data)+chunkOverhead {
		if cause := f.write(nil); cause != exchange.CauseNone {
			return cause
		}
	}
	f.out = h1.AppendChunk(f.out, data)
	return exchange.CauseNone
}

// chunkOverhead bounds the bytes of framing around a chunk.
const chunkOverhead = 16 + 2*len("\r\n")

// reusable reports whether the upstream connection can take another request.
func (f *flight) reusable() bool {
	return f.response.KeepAlive && f.response.Framing != h1.UntilClose && f.payload.Done() &&
		len(f.res.unread()) == 0 && f.body.complete() && !f.body.refused && !f.cut && f.response.Status != http.StatusSwitchingProtocols
}
