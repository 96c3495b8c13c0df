package exchange

import "time"

// PaceGrace is how long a client is waited for before its pace is judged: a bad mobile
// link recovers in it.
const PaceGrace = 30 * time.Second

// Pace judges how fast a client sends a body, or takes one, by what it makes us wait
// for: one that keeps a connection busy with a byte now and then is no better than one
// that is silent. Time in which we were not ready for the client does not count. Each
// stretch of waiting of a [PaceGrace] is judged by itself, so that what came quickly
// before does not make up for it. The zero Pace has seen nothing.
//
// It is meant for HTTP/1 requests, each of which has a connection to itself. A stream of
// HTTP/2 and HTTP/3 that idles holds none, and gRPC clients keep theirs open for hours;
// there it judges only how fast a client makes room for a response that waits for it,
// which costs it a few bytes at will. Over HTTP/1 the kernel makes it take a good part of
// a socket buffer, or one piece as we read them, within each BodyTimeout.
type Pace struct {
	waited time.Duration
	moved  int64 // bytes, in that time
}

// Waited notes that something moved after a wait, and reports whether the client is too
// slow by now: below rate, in bytes a second; 0 and less never is. Who waits and gets
// nothing is the BodyTimeout's.
func (p *Pace) Waited(wait time.Duration, bytes int, rate int64) (slow bool) {
	if rate <= 0 {
		return false
	}
	p.waited += wait
	p.moved += int64(bytes)
	if p.waited < PaceGrace {
		return false
	}
	slow = float64(p.moved) < p.waited.Seconds()*float64(rate)
	*p = Pace{}
	return slow
}
