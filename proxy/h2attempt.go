package proxy

import (
	"net"
	"net/http"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
	"github.com/lintel-dev/lintel/proxy/h2"
	"github.com/lintel-dev/lintel/router"
)

// h2Attempt is the upstream side of an exchange over HTTP/2: a stream of a shared
// connection. Attempts are used again.
type h2Attempt struct {
	h2Flow
	u      *h2Upstream
	opened bool // it has an id
	kept   bool // the connection had served before
	headed bool // a head has come; guarded by u.mu

	out      h2.Request
	endsSoon bool               // the request was sent with its head
	socket   exchange.WebSocket // of an upgrade, which is an extended CONNECT here
}

// receiveHead keeps the head of a response. mu is held.
func (a *h2Attempt) receiveHead(e *h2.Event) {
	if a.err != nil {
		return
	}
	if len(a.heads) > maxInterim {
		a.u.codec.Reset(a.id, h2.EnhanceYourCalm)
		a.over(&h1.Error{Status: http.StatusBadGateway, Reason: "too many interim responses"})
		return
	}
	a.headed = true
	head := *e.Response
	head.Fields = append([]router.Field(nil), head.Fields...)
	a.heads = append(a.heads, head)
	a.ended = a.ended || e.End
	a.readable.notify()
}

func (a *h2Attempt) to() *router.Endpoint   { return a.u.endpoint }
func (a *h2Attempt) reused() bool           { return a.kept }
func (a *h2Attempt) bound(latest time.Time) { a.latest = latest }

// open implements upstream. The head goes out with the next flush.
func (a *h2Attempt) open(x *exchange.Exchange) {
	scheme := "http"
	if a.u.list.secure() {
		scheme = "https"
	}
	x.RequestHead(&a.out, scheme, a.u.endpoint.Addr, a.socket)
	u := a.u
	u.mu.Lock()
	defer u.mu.Unlock()
	u.promised--
	a.endsSoon = a.out.End || a.socket.Key != ""
	if err := a.failure(); err != nil {
		a.err = unsentError{err}
		return
	}
	id, err := u.codec.OpenRequest(&a.out)
	if err != nil {
		a.err = unsentError{err}
		return
	}
	a.opened, a.id = true, id
	u.streams[id] = a
}

func (a *h2Attempt) room() int {
	a.u.mu.Lock()
	defer a.u.mu.Unlock()
	return a.u.codec.Window(a.id)
}

func (a *h2Attempt) write(p []byte) error {
	var err error
	if len(a.pending) > 0 {
		a.u.mu.Lock()
		err = a.sendPending(h2.More)
		a.u.mu.Unlock()
	}
	a.pending = p
	return err
}

// sendPending gives what was held back to the codec. mu is held.
func (a *h2Attempt) sendPending(fin h2.Fin) error {
	if err := a.failure(); err != nil {
		return err
	}
	p := a.pending
	a.pending = nil
	if len(p) == 0 && fin == h2.More || a.endsSoon {
		return nil
	}
	_, err := a.send(p, fin)
	return err
}

func (a *h2Attempt) end(trailers []h1.Field) error {
	a.u.mu.Lock()
	defer a.u.mu.Unlock()
	if len(trailers) == 0 || a.endsSoon {
		return a.sendPending(h2.Last)
	}
	if err := a.sendPending(h2.More); err != nil {
		return err
	}
	return a.u.codec.WriteTrailers(a.id, trailers)
}

func (a *h2Attempt) flush() error {
	a.u.mu.Lock()
	defer a.u.mu.Unlock()
	err := a.sendPending(h2.More)
	a.u.flush()
	if err == nil {
		err = a.failure()
	}
	return err
}

func (a *h2Attempt) head(res *h1.Response, method string) (bool, error) {
	a.u.mu.Lock()
	defer a.u.mu.Unlock()
	if len(a.heads) == 0 {
		return false, a.err
	}
	head := a.heads[0]
	a.heads = append(a.heads[:0], a.heads[1:]...)
	exchange.TranslateResponse(res, &head, method, a.socket)
	return true, nil
}

func (a *h2Attempt) await(now, latest time.Time) error {
	if err := a.waitFor(earlier(latest, now.Add(exchange.ProbeInterval))); err != nil {
		return err
	}
	a.u.mu.Lock()
	defer a.u.mu.Unlock()
	if len(a.heads) > 0 || len(a.arrived) > 0 || a.ended {
		return nil
	}
	return a.err // nothing came, so that nothing is known of an answer
}

func (a *h2Attempt) tunnel() (conn net.Conn, early []byte) {
	return &h2Tunnel{flow: &a.h2Flow}, nil
}

// renounce gives the stream up before it was opened.
func (a *h2Attempt) renounce() {
	a.u.mu.Lock()
	a.u.promised--
	a.u.mu.Unlock()
	a.u.server.attempts.Put(a)
}

// cancel implements upstream.
func (a *h2Attempt) cancel() {
	a.u.mu.Lock()
	defer a.u.mu.Unlock()
	if a.opened {
		a.u.codec.Reset(a.id, h2.Cancel)
		a.u.kick()
	}
	a.over(errStreamOver)
}

func (a *h2Attempt) breakOff() { a.cancel() } // which resets the stream
func (a *h2Attempt) drop()     { a.close() }

func (a *h2Attempt) release(time.Time) { a.close() }

// close ends the stream, if it is not over, and gives the attempt back.
func (a *h2Attempt) close() {
	u := a.u
	u.mu.Lock()
	if a.opened {
		u.codec.Reset(a.id, h2.Cancel)
		a.forget()
		delete(u.streams, a.id)
	}
	if len(u.streams) == 0 {
		u.idle = time.Now()
	}
	u.flush()
	over := u.codec.Done() && !u.closed
	u.mu.Unlock()
	if over {
		_ = u.conn.SetReadDeadline(past)
	}
	u.server.attempts.Put(a)
}
