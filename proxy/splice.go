package proxy

import (
	"net"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
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
	if f.response.Framing != h1.Length || f.response.Length-f.Report.Sent < minSplice {
		return false
	}
	_, down := f.c.conn.(*net.TCPConn)
	_, up := f.up.conn.(*net.TCPConn)
	return down && up
}

// splice sends the rest of the response.
func (f *flight) splice() exchange.Cause {
	down, up := f.c.conn.(*net.TCPConn), f.up.conn.(*net.TCPConn)
	limit := f.Settings.BodyTimeout
	f.limited.R = up
	for f.Report.Sent < f.response.Length {
		now := time.Now()
		f.c.writeBy.within(now, spliceTimeouts*limit, f.deadline)
		f.up.readBy.wake(now, earlier(f.attemptBy, f.progress.Add(limit)))
		piece := min(f.response.Length-f.Report.Sent, splicePiece)
		f.limited.N = piece
		n, err := down.ReadFrom(&f.limited)
		f.Report.Sent += n
		if n > 0 {
			f.progress = time.Now()
		}
		if cause := f.spliceFailure(n < piece, err, now); cause != exchange.CauseNone {
			return cause
		}
	}
	f.payload.Reset(h1.NoBody, 0, f.Settings.Limits) // it is done
	return exchange.CauseNone
}

// spliceFailure looks at what ended a piece that began at start.
func (f *flight) spliceFailure(short bool, err error, start time.Time) exchange.Cause {
	switch {
	case err == nil && !short:
		return exchange.CauseNone
	case err == nil:
		return exchange.CauseUpstreamReset // its end
	case !isTimeout(err):
		if f.c.gone() {
			return exchange.CauseClientGone
		}
		return exchange.CauseUpstreamReset
	case !time.Now().Before(f.attemptBy):
		return exchange.CauseTimeout
	case time.Since(start) >= spliceTimeouts*f.Settings.BodyTimeout:
		return exchange.CauseClientStalled
	default:
		return f.silence(f.Settings.BodyTimeout) // nothing was lost: the read deadline wakes us
	}
}
