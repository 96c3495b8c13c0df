//go:build linux

package loop

import (
	"github.com/lintel-dev/lintel/proxy/h2"
)

// prefacePart says how much of the preface of HTTP/2 a client has sent.
type prefacePart uint8

const (
	noPreface    prefacePart = iota // this is something else
	partPreface                     // more may follow
	wholePreface                    // it knows that we speak HTTP/2 (RFC 9113 §3.3)
)

// certainPreface is how long a beginning has to be that is nothing else: no method is
// called so.
const certainPreface = len("PRI ")

// prefaceOf tells whether a connection begins with the preface of HTTP/2 (RFC 9113 §3.4). Over
// TLS the handshake has settled what is spoken.
func (d *downstream) prefaceOf(unread []byte) prefacePart {
	if d.known || d.secure != nil || len(unread) < certainPreface {
		return noPreface
	}
	n := min(len(unread), len(h2.Preface))
	switch {
	case string(unread[:n]) != h2.Preface[:n]:
		return noPreface
	case n < len(h2.Preface):
		return partPreface
	}
	return wholePreface
}

// switchToHTTP2 goes on with a connection whose client has sent the preface. A stream cannot
// leave its connection, so that goes as a whole where not all Rules are plain.
func (d *downstream) switchToHTTP2() {
	if !d.socket.Table().Plain(d.socket.Name()) {
		d.handOver()
		return
	}
	d.giveBack()
	d.multiplex()
	d.mux.take(d.in.unread())
	d.in.discard()
	if d.fd >= 0 {
		d.mux.ready()
	}
}

// refusesPreface ends a connection with a part of a preface that no more comes of, if that is
// no request of HTTP/1.1 either. It reports whether it was that.
func (d *downstream) refusesPreface() bool {
	unread := d.in.unread()
	if d.prefaceOf(unread) != partPreface {
		return false
	}
	if d.flight == nil {
		d.borrow()
	}
	_, err := d.flight.request.Parse(unread, d.loop.settings.Limits)
	if err != nil {
		d.refuseHead(err)
	}
	return err != nil
}
