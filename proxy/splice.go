package proxy

import (
	"io"
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

// spliceable returns both sides if the rest of the response can go from socket to
// socket inside the kernel, which costs less than half; else nil. What has been read
// from the upstream has been used up.
func (f *flight) spliceable() (*h1Downstream, *h1Upstream) {
	if f.response.Framing != h1.Length || f.response.Length-f.Report.Sent < minSplice {
		return nil, nil
	}
	down, downOK := f.down.(*h1Downstream)
	up, upOK := f.up.(*h1Upstream)
	if !downOK || !upOK {
		return nil, nil
	}
	if _, plain := down.c.conn.(*net.TCPConn); !plain {
		return nil, nil
	}
	if _, plain := up.conn.(*net.TCPConn); !plain {
		return nil, nil
	}
	return down, up
}

// splice sends the rest of the response.
func (f *flight) splice(down *h1Downstream, up *h1Upstream) exchange.Cause {
	client := down.c.conn.(*net.TCPConn)
	limit := f.Settings.BodyTimeout
	for f.Report.Sent < f.response.Length {
		now := time.Now()
		down.c.writeBy.within(now, spliceTimeouts*limit, f.deadline)
		up.readBy.wake(now, f.awaitBy(limit, now))
		piece := min(f.response.Length-f.Report.Sent, splicePiece)
		down.limited = io.LimitedReader{R: up.conn, N: piece}
		n, err := client.ReadFrom(&down.limited)
		f.Report.Sent += n
		if n > 0 {
			f.progress = time.Now()
		}
		if cause := f.spliceFailure(down, n < piece, err, now); cause != exchange.CauseNone {
			return cause
		}
	}
	up.payload.Reset(h1.NoBody, 0, f.Settings.Limits) // it is done
	return exchange.CauseNone
}

// spliceFailure looks at what ended a piece that began at start.
func (f *flight) spliceFailure(down *h1Downstream, short bool, err error, start time.Time) exchange.Cause {
	switch {
	case err == nil && !short:
		return exchange.CauseNone
	case err == nil:
		return exchange.CauseUpstreamReset // its end
	case !isTimeout(err):
		if broken(down.c.conn) {
			return exchange.CauseClientGone
		}
		return exchange.CauseUpstreamReset
	case !time.Now().Before(f.attemptBy):
		return exchange.CauseTimeout
	case time.Since(start) >= spliceTimeouts*f.Settings.BodyTimeout:
		return exchange.CauseClientStalled
	default:
		return f.silence(f.Settings.BodyTimeout, time.Now()) // nothing was lost: the read deadline wakes us
	}
}
