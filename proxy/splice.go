package proxy

import (
	"net"
	"time"

	"github.com/lintel-dev/lintel/proxy/h1"
)

const (
	// minSplice is the rest of a body from which on splice(2) pays.
	minSplice = 64 << 10
	// splicePiece bounds the bytes that have spliceTimeouts times the BodyTimeout
	// to go out: with 60 s a client must take 2 KiB/s.
	splicePiece = 256 << 10
	// spliceTimeouts makes the write deadline later than any read deadline, so that
	// it is clear which one has passed: what a late write had taken from the
	// upstream is lost, while after a late read splicing can go on.
	spliceTimeouts = 2
)

// spliceable reports whether the rest of the response can go from socket to
// socket inside the kernel, which costs less than half. f.res has been used up.
func (f *flight) spliceable() bool {
	if f.response.Framing != h1.Length || f.response.Length-f.seen.Sent < minSplice {
		return false
	}
	_, down := f.c.conn.(*net.TCPConn)
	_, up := f.up.conn.(*net.TCPConn)
	return down && up
}

// splice sends the rest of the response.
func (f *flight) splice() Cause {
	down, up := f.c.conn.(*net.TCPConn), f.up.conn.(*net.TCPConn)
	limit := f.settings.BodyTimeout
	f.limited.R = up
	for f.seen.Sent < f.response.Length {
		now := time.Now()
		f.c.writeBy.within(now, spliceTimeouts*limit, f.deadline)
		f.up.readBy.wake(now, earlier(f.attemptBy, f.progress.Add(limit)))
		piece := min(f.response.Length-f.seen.Sent, splicePiece)
		f.limited.N = piece
		n, err := down.ReadFrom(&f.limited)
		f.seen.Sent += n
		if n > 0 {
			f.progress = time.Now()
		}
		if cause := f.spliceFailure(n < piece, err, now); cause != CauseNone {
			return cause
		}
	}
	f.payload.Reset(h1.NoBody, 0, f.settings.Limits) // it is done
	return CauseNone
}

// spliceFailure looks at what ended a piece that began at start.
func (f *flight) spliceFailure(short bool, err error, start time.Time) Cause {
	switch {
	case err == nil && !short:
		return CauseNone
	case err == nil:
		return CauseUpstreamReset // its end
	case !isTimeout(err):
		if f.c.gone() {
			return CauseClientGone
		}
		return CauseUpstreamReset
	case !time.Now().Before(f.attemptBy):
		return CauseTimeout
	case time.Since(start) >= spliceTimeouts*f.settings.BodyTimeout:
		return CauseClientStalled
	default:
		return f.silence(f.settings.BodyTimeout) // nothing was lost: the read deadline wakes us
	}
}
