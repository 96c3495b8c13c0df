package observe

import (
	"net/netip"
	"time"
)

// exchangeStrings is how many strings an Exchange has.
const exchangeStrings = 11

// maxEntryString bounds what an entry of a Stream keeps of one string, in bytes. Most have
// a bound of their own, which is less; paths and agents are what clients like.
const maxEntryString = 1024

// strings returns the places of all strings.
func (e *Exchange) strings() [exchangeStrings]*string {
	return [...]*string{
		&e.Method, &e.Host, &e.Path, &e.UserAgent, &e.RequestID, &e.Protocol, &e.Scheme,
		&e.Listener, &e.Route, &e.Backend, &e.Cause,
	}
}

// facts are what an entry keeps of an Exchange besides its strings. It is small because
// every request writes one, to memory that was last used many requests ago.
type facts struct {
	client          netip.Addr
	upstream        netip.AddrPort
	bytesIn         int64
	bytesOut        int64
	duration        time.Duration
	upstreamLatency time.Duration
	status          int32
	attempts        int32
	lengths         [exchangeStrings]uint16
	text            []byte // the strings, one after the other
}

// setExchange makes n an entry of an exchange.
func (n *entry) setExchange(e *Exchange) {
	n.kind, n.ended = KindL7, e.Start.Add(e.Duration)
	if e.stream() {
		n.kind = KindStream
	}
	n.facts.client, n.facts.upstream = e.Client, e.Upstream
	n.facts.bytesIn, n.facts.bytesOut = e.BytesIn, e.BytesOut
	n.facts.duration, n.facts.upstreamLatency = e.Duration, e.UpstreamLatency
	n.facts.status, n.facts.attempts = int32(e.Status), int32(e.Attempts) //nolint:gosec // Three digits, and a few.
	if n.facts.text == nil {
		n.facts.text = make([]byte, 0, e.textSize()) // what comes here next may well fit, too
	}
	all := n.facts.text[:0]
	for i, place := range e.strings() {
		text := *place
		text = text[:min(len(text), maxEntryString)]
		all = append(all, text...)
		n.facts.lengths[i] = uint16(len(text)) //nolint:gosec // Bounded above.
	}
	n.facts.text = all
}

// textSize is how many bytes e's strings are, in an entry.
func (e *Exchange) textSize() int {
	size := 0
	for _, place := range e.strings() {
		size += min(len(*place), maxEntryString)
	}
	return size
}

// setFlow makes n an entry of a flow. Few have one in all their life, unless flows are
// recorded.
func (n *entry) setFlow(f *Flow) {
	n.kind, n.ended = KindL4, f.Ended
	if n.flow == nil {
		n.flow = new(Flow)
	}
	*n.flow = *f
}

// exchange returns what was kept of an exchange, and when that was over is n.ended.
func (n *entry) exchange() *Exchange {
	f := &n.facts
	e := &Exchange{
		Client: f.client, Upstream: f.upstream, BytesIn: f.bytesIn, BytesOut: f.bytesOut,
		Duration: f.duration, UpstreamLatency: f.upstreamLatency, Status: int(f.status), Attempts: int(f.attempts),
	}
	all := string(f.text)
	for i, place := range e.strings() {
		*place, all = all[:f.lengths[i]], all[f.lengths[i]:]
	}
	return e
}

// copy makes n equal to from, in memory of its own.
func (n *entry) copy(from *entry) {
	text, flow := append(n.facts.text[:0], from.facts.text...), n.flow
	*n = *from
	n.facts.text, n.flow = text, flow
	if n.kind == KindL4 {
		n.setFlow(from.flow)
	}
}

// record returns what n tells, without names.
func (n *entry) record() Record {
	switch n.kind {
	case KindL4:
		return n.flow.record()
	case KindLost:
		return Record{Kind: KindLost, Time: n.ended, Lost: n.lost, Cause: causeFullRing}
	}
	e := n.exchange()
	r := Record{
		Kind: n.kind, Time: n.ended, Verdict: e.verdict(), Cause: e.Cause,
		Source: Peer{Address: e.Client}, Destination: peer(e.Upstream),
		Protocol: e.Protocol, BytesIn: e.BytesIn, BytesOut: e.BytesOut, Seconds: seconds(e.Duration),
		Method: e.Method, Scheme: e.Scheme, Host: e.Host, Path: e.Path, Status: e.Status,
		UserAgent: e.UserAgent, RequestID: e.RequestID, Listener: e.Listener, Route: e.Route, Backend: e.Backend,
		UpstreamSeconds: seconds(e.UpstreamLatency), Attempts: e.Attempts,
	}
	return r
}

// verdict says in a word how e ended.
func (e *Exchange) verdict() Verdict {
	switch {
	case e.Cause == "client gone", e.Status == 0 && !e.stream():
		return VerdictAborted
	case e.Cause == "denied":
		return VerdictDenied
	case e.Cause != "":
		return VerdictFailed
	case e.Upstream.IsValid():
		return VerdictForwarded
	default:
		return VerdictAnswered
	}
}

// Flow is one TCP connection of this machine that has ended, or an attempt at one, as its
// kernel saw it at one end.
type Flow struct {
	Local, Remote netip.AddrPort
	// Outgoing says that this end connected to the other; otherwise it accepted, or that is
	// not known (Before).
	Outgoing bool
	Verdict  Verdict
	// Received and Sent are bytes of what the programs exchanged; of those sent, those that
	// the other end confirmed.
	Received, Sent uint64
	// RTT is smoothed, MinRTT the least; 0 is not known.
	RTT, MinRTT time.Duration
	Retransmits uint32 // segments
	// Duration is the time since it was established, 0 when it never was, or Before.
	Duration time.Duration
	Ended    time.Time
	// Before says that it was established before anybody looked.
	Before bool
}

func (f *Flow) record() Record {
	r := Record{
		Kind: KindL4, Time: f.Ended, Verdict: f.Verdict, Protocol: "tcp", Direction: f.direction(),
		Source: peer(f.Remote), Destination: peer(f.Local),
		BytesIn: int64(f.Received), BytesOut: int64(f.Sent), //nolint:gosec // 8 EiB are enough.
		Seconds: seconds(f.Duration), RTTSeconds: seconds(f.RTT), MinRTTSeconds: seconds(f.MinRTT),
		Retransmits: f.Retransmits, Before: f.Before,
	}
	if f.Outgoing {
		r.Source, r.Destination = r.Destination, r.Source
	}
	return r
}

// direction is "" where nobody saw who connected.
func (f *Flow) direction() Direction {
	switch {
	case f.Before:
		return ""
	case f.Outgoing:
		return DirectionOut
	default:
		return DirectionIn
	}
}

func peer(at netip.AddrPort) Peer { return Peer{Address: at.Addr(), Port: at.Port()} }
