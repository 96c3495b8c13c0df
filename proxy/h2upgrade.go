package proxy

import (
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// upgradeOver gets what an upgrade can go over: the stream, if it asks for a WebSocket and
// the endpoint has announced that it knows extended CONNECT (RFC 8441 §3), and else a new
// connection that speaks HTTP/1.1.
func (f *flight) upgradeOver(a *h2Attempt, until time.Time) (upstream, exchange.Cause) {
	a.socket = exchange.WebSocketOf(f.Request)
	if a.socket.Key != "" && a.u.knowsConnect(until) {
		return a, exchange.CauseNone
	}
	endpoint, list := a.u.endpoint, a.u.list
	a.renounce()
	up, err := f.server.pool.dialH1(list, endpoint, until)
	if err != nil {
		return nil, f.dialFailure(endpoint, err)
	}
	return up, exchange.CauseNone
}

// knowsConnect waits for the endpoint's settings, and reports whether it knows extended
// CONNECT.
func (u *h2Upstream) knowsConnect(until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-u.settled:
	case <-timer.C:
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.codec.ExtendedConnect()
}
