//go:build linux

package loop

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// downstream is one client connection.
type downstream struct {
	conn
	socket Socket
	client exchange.Client

	flight   *flight // nil between two exchanges, and over HTTP/2
	mux      *mux    // nil but over HTTP/2
	in       input
	timer    timer
	swallow  int    // bytes that may still be discarded
	drained  uint32 // the socket's Drained when the connection came
	draining bool   // no exchange follows the one in flight; see drains
	known    bool   // a request came: the client speaks HTTP/1
	state    state
}

// state is what a client connection waits for.
type state uint8

const (
	fresh       state = iota // the first byte of its first request
	heading                  // the rest of a head
	busy                     // its flight
	settling                 // the rest of a body that nobody wants
	multiplexed              // what HTTP/2 has to tell
	taking                   // the client to take the response before
	unused                   // the first byte of another request
	lingering                // the client's end
)

// maxLinger bounds the bytes that a lingering connection still takes.
const maxLinger = 4 * maxSettle

func newDownstream(l *loop, in *Incoming) *downstream {
	addr := in.Peer.Addr().Unmap().WithZone("")
	d := &downstream{
		socket: in.Socket,
		client: exchange.Client{
			Socket:  in.Socket.Name(),
			Addr:    addr,
			Address: addr.String(),
			Port:    strconv.Itoa(int(in.Local.Port())),
			Scheme:  "http",
			Trusted: l.settings.Trusts(addr),

			Source: in.Peer, Destination: in.Local,
		},
		in: input{from: &l.heads},
	}
	if in.Session != nil {
		d.client.Scheme, d.client.AltSvc, d.client.ServerName = "https", in.AltSvc, in.ServerName
		d.secure = &secure{session: in.Session}
	}
	d.drained = in.drained
	d.timer.at = never
	d.timer.fire = d.expire
	return d
}

// start bounds the wait for the first request.
func (d *downstream) start(draining bool) {
	limit := d.loop.settings.ReadHeaderTimeout
	if d.draining = draining; draining {
		limit = exchange.FreshGrace
	}
	d.loop.wheel.set(&d.timer, d.loop.now+int64(limit))
}

func (d *downstream) ready() {
	switch d.state {
	case busy:
		f := d.flight
		if d.failed || d.broken && f.stage != flushing {
			f.giveUp(exchange.CauseClientGone)
			return
		}
		f.clientReady()
	case settling:
		d.settleOn()
	case multiplexed:
		d.mux.ready()
	case lingering:
		d.discardInput()
	default:
		d.readHead()
	}
}

// expire is called when the timer fires.
func (d *downstream) expire() {
	switch d.state {
	case busy:
		d.flight.expire()
	case heading:
		if d.drains() {
			d.close()
			return
		}
		if d.refusesPreface() {
			return
		}
		d.refuse(exchange.CauseClientStalled.Answer())
	case settling:
		d.linger()
	case multiplexed:
		d.mux.expire()
	default:
		d.close()
	}
}

// readHead reads until the head of a request is complete.
func (d *downstream) readHead() {
	// The response before goes first: the connection may be handed over.
	d.push()
	switch {
	case d.failed:
		d.close()
		return
	case d.pending() > 0:
		d.state = taking
		d.loop.wheel.set(&d.timer, since(d.moved, d.loop.settings.BodyTimeout))
		return
	case d.state == taking:
		d.state = unused
		d.awaitNext()
	}
	if len(d.in.unread()) == 0 && !d.mayRead() {
		return
	}
	if d.flight == nil {
		d.borrow()
	}
	f := d.flight
	for {
		if unread := d.in.unread(); len(unread) > 0 {
			switch d.prefaceOf(unread) {
			case wholePreface:
				d.switchToHTTP2()
				return
			case noPreface:
				n, err := f.request.Parse(unread, d.loop.settings.Limits)
				if err != nil {
					d.refuseHead(err)
					return
				}
				if n > 0 {
					d.begin(n)
					return
				}
			}
		}
		read := d.loop.shared[:headSize-len(d.in.unread())%headSize]
		n, outcome := d.read(read)
		switch outcome {
		case some:
			d.in.push(read[:n])
		case dry:
			d.awaitHead()
			return
		case end:
			if !d.refusesPreface() {
				d.close()
			}
			return
		default:
			d.close()
			return
		}
	}
}

// multiplex makes the connection speak HTTP/2.
func (d *downstream) multiplex() {
	d.state = multiplexed
	d.client.Protocol = "HTTP/2.0"
	d.mux = newMux(d)
	d.mux.soil()
	if d.draining {
		d.mux.drain()
	}
}

// borrow gets a flight for a request.
func (d *downstream) borrow() {
	f := d.loop.borrow(d, &d.client)
	f.wire, f.timer = d, &d.timer
	f.plain.reset(d.loop.settings.Limits)
	d.flight = f
}

// giveBack gives the flight back, if there is one.
func (d *downstream) giveBack() {
	f := d.flight
	if f == nil {
		return
	}
	if d.state != busy || f.headless {
		f.request.Reset() // it may have read a part of a head
	}
	d.flight = nil
	d.loop.giveBack(f)
}

// awaitHead waits for the rest of a head, if there is a part of one.
func (d *downstream) awaitHead() {
	if len(d.in.unread()) == 0 {
		d.giveBack()
		d.in.compact()
		return
	}
	if len(d.in.unread()) <= smallHead {
		// It costs less to parse that again than to keep a buffer and a flight for
		// everybody who takes his time.
		d.giveBack()
		d.in.shrink()
	}
	if d.state != heading {
		d.state = heading
		d.loop.wheel.set(&d.timer, d.loop.now+int64(d.loop.settings.ReadHeaderTimeout))
	}
}

// refuseHead answers a head that breaks the rules.
func (d *downstream) refuseHead(err error) {
	status := http.StatusBadRequest
	if bad, ok := errors.AsType[*h1.Error](err); ok {
		status = bad.Status
	}
	d.refuse(exchange.Answer{Status: status, Cause: exchange.CauseBadRequest})
}

// refuse answers what is no request, and ends the connection.
func (d *downstream) refuse(a exchange.Answer) {
	if d.flight == nil {
		d.borrow()
	}
	d.state = busy
	f := d.flight
	f.Report.Start = d.loop.clock
	f.headless = true
	f.answer(a)
}

// begin starts the exchange of a request whose head has n bytes.
func (d *downstream) begin(n int) {
	f := d.flight
	r := &f.request
	if r.Upgrade != "" || r.Expect100 || r.Method == http.MethodConnect {
		d.handOver()
		return
	}
	f.Begin(d.loop.clock)
	answer := f.Decide(d.socket.Table())
	if f.Waits || f.Rule != nil && !f.Rule.Action.Plain() {
		d.handOver()
		return
	}
	d.in.r += n
	d.state, d.known = busy, true
	f.start(answer)
}

// handOver passes the connection on, with the request that has just come.
func (d *downstream) handOver() {
	l := d.loop
	out := HandedOver{Unread: slices.Clone(d.in.unread())}
	out.FD, out.Peer, out.Local, out.Draining = d.fd, d.client.Source, d.client.Destination, d.drains()
	if s := d.secure; s != nil {
		out.Session, out.ServerName = s.session, d.client.ServerName
		out.Unread = append(out.Unread, s.opened[s.taken:]...)
		out.Sealed = slices.Clone(s.sealed)
		s.discard(l)
	}
	l.poller.remove(d.fd)
	l.forget(&d.conn)
	d.fd = -1
	d.leave()
	d.socket.HandOver(out)
}

// leave gives back what the connection has of its loop.
func (d *downstream) leave() {
	l := d.loop
	l.wheel.stop(&d.timer)
	if d.mux != nil {
		d.mux.abandon(exchange.CauseClientGone)
	}
	d.giveBack()
	d.in.discard()
	l.gauges.downstream--
}

// close ends the connection.
func (d *downstream) close() {
	if d.fd < 0 {
		return
	}
	d.conn.close()
	d.leave()
	d.socket.Closed(d.client.Source)
}

// next readies the connection for the next request. The exchange before is over.
func (d *downstream) next() {
	d.giveBack()
	d.in.compact()
	d.state = unused
	d.awaitNext()
	if len(d.in.unread()) > 0 || d.mayRead() {
		d.loop.resume(&d.conn)
	}
}

// awaitNext bounds the wait for the next request.
func (d *downstream) awaitNext() {
	limit := d.loop.settings.IdleTimeout
	if d.drains() { // since the response, which did not say so
		limit = exchange.FreshGrace
	}
	d.loop.wheel.set(&d.timer, d.loop.now+int64(limit))
}

// linger ends a connection on which the client may still be sending: closing at once
// would reset it, and the client would never see the response (RFC 9112 §9.6).
func (d *downstream) linger() {
	d.giveBack()
	d.in.discard()
	d.push()
	d.sayGoodbye()
	if !shutdownWrite(d.fd) {
		d.close()
		return
	}
	d.state = lingering
	d.swallow = maxLinger
	d.loop.wheel.set(&d.timer, d.loop.now+int64(exchange.LingerTimeout))
	d.discardInput()
}

func (d *downstream) discardInput() {
	for {
		n, outcome := d.read(d.loop.shared)
		if outcome == dry {
			return
		}
		d.swallow -= n
		if outcome != some || d.swallow <= 0 {
			d.close()
			return
		}
	}
}

// drains reports whether no exchange follows the one in flight.
func (d *downstream) drains() bool { return d.draining || d.socket.Drained() != d.drained }

// from is the socket that the client has connected to.
func (d *downstream) from() Socket { return d.socket }

// drain makes the exchange in flight the last one, or one that is on the way.
func (d *downstream) drain() {
	if d.draining {
		return
	}
	d.draining = true
	switch d.state {
	case unused, fresh:
		d.loop.wheel.set(&d.timer, d.loop.now+int64(exchange.FreshGrace))
	case multiplexed:
		d.mux.drain()
	}
}

// cut ends the connection whatever it does.
func (d *downstream) cut() {
	switch d.state {
	case busy:
		d.flight.leave(exchange.CauseDrained)
	case multiplexed:
		d.mux.abandon(exchange.CauseDrained)
	}
	d.close()
}
