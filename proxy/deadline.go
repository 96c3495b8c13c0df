package proxy

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// deadline is the read or the write deadline of a connection. Setting one costs
// more than anything else an exchange does beside its reads and writes, so it is
// set seldom: a little later than needed, and then left alone as long as it
// does. One goroutine uses it at a time.
type deadline struct {
	set func(time.Time) error
	at  time.Time // zero after forget: unknown
}

func readDeadline(conn net.Conn) deadline  { return deadline{set: conn.SetReadDeadline} }
func writeDeadline(conn net.Conn) deadline { return deadline{set: conn.SetWriteDeadline} }

// extend makes the deadline at least limit away, and at most a quarter more.
func (d *deadline) extend(now time.Time, limit time.Duration) {
	left := d.at.Sub(now)
	if left >= limit && left <= limit+limit/4 {
		return
	}
	d.exactly(now.Add(limit + limit/4))
}

// within makes the deadline about limit away, as extend does, but not after
// latest.
func (d *deadline) within(now time.Time, limit time.Duration, latest time.Time) {
	if latest.Sub(now) < limit+limit/4 {
		d.exactly(earlier(now.Add(limit), latest))
		return
	}
	d.extend(now, limit)
}

// wake makes a read return before latest and, unless that is sooner, within
// exchange.ProbeInterval. It may return earlier: the caller looks at the clock.
func (d *deadline) wake(now, latest time.Time) {
	if d.at.After(now) && !d.at.After(latest) && d.at.Sub(now) <= exchange.ProbeInterval {
		return
	}
	at := now.Add(exchange.ProbeInterval)
	if latest.Before(at) {
		at = latest
	}
	d.exactly(at)
}

// exactly sets the deadline.
func (d *deadline) exactly(at time.Time) {
	// It fails on a closed connection alone, and then so does what follows.
	_ = d.set(at)
	d.at = at
}

// forget tells that someone else set the connection's deadline.
func (d *deadline) forget() { d.at = time.Time{} }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// past is a deadline that ends a blocked read or write at once.
var past = time.Unix(1, 0)

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
