package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

const (
	// dialTimeout bounds the handshakes of a connection, so that Auto falls back soon.
	dialTimeout = 4 * time.Second
	// registerTimeout bounds each call to the edge.
	registerTimeout = 10 * time.Second
	// steady is how long a connection must last for the next attempt to come soon.
	steady = 10 * time.Second
	// maxAfter bounds the wait that the edge asks for.
	maxAfter = 10 * time.Minute
	// spareSlot is when a connection that no address is left for looks again.
	spareSlot = 30 * time.Second
)

// Reasons that are ours.
var (
	errLost      = errors.New("the edge has closed the connection")
	errNoControl = errors.New("the edge did not ask to register the connection")
)

// worked reports whether there may be requests under way on a connection that ended with err.
func worked(err error) bool { return errors.Is(err, errLost) || errors.Is(err, errMalformed) }

// link is one connection to the edge, whatever its transport.
type link struct {
	session  *session
	index    int
	address  netip.AddrPort
	protocol Protocol
	dialled  time.Time
	rtt      time.Duration

	mu         sync.Mutex // guards what follows
	registered bool
	closed     bool
	serving    sync.WaitGroup // requests under way
}

// keep keeps the connection of a slot until the session stops and it has drained.
func (s *session) keep(index int) {
	if index > 0 {
		select {
		case <-s.connected:
		case <-s.stopping.Done():
		}
	}
	var pause time.Duration
	for s.stopping.Err() == nil {
		address, err := s.book.take(s.stopping)
		if errors.Is(err, errNoAddress) {
			s.pause(spareSlot)
			continue
		}
		var l *link
		if err == nil {
			l = &link{session: s, index: index, address: address, protocol: s.protocol(), dialled: time.Now()}
			err = l.serve()
			if s.stopping.Err() != nil {
				err = nil
			}
			s.book.give(address, err)
		}
		if err == nil {
			s.unregister(index)
			continue // it has ended as it was told to
		}
		pause = s.tell(l, index, err, pause)
		s.pause(pause)
	}
}

// tell notes why a connection ended, and returns how long to wait before the next.
func (s *session) tell(l *link, index int, err error, before time.Duration) time.Duration {
	retry := s.settings.Retry
	f := Failure{Reason: err.Error(), At: time.Now()}
	next, limit := max(2*before, retry.First), retry.Max
	refused, isRefused := errors.AsType[*refusal](err)
	switch {
	case isRefused:
		f.Permanent = refused.permanent
		if f.Permanent {
			limit = retry.Refused
		}
		s.fail(index, f, func(t *Totals) { t.Refused++ })
		return max(min(next, limit), min(refused.after, maxAfter))
	case l != nil && l.isRegistered():
		if time.Since(l.dialled) > steady {
			next = retry.First
		}
		s.fail(index, f, func(t *Totals) { t.Lost++ })
	default:
		s.fail(index, f, func(t *Totals) { t.Failed++ })
		if l != nil && l.protocol == QUIC && s.fallBack() {
			return 0
		}
	}
	return min(next, limit)
}

// serve connects and serves until the connection is lost, which is an error, or the session
// stops and it has drained.
func (l *link) serve() error {
	ctx, cancel := context.WithTimeout(l.session.stopping, dialTimeout)
	defer cancel()
	var err error
	if l.protocol == QUIC {
		var c *quicConnection
		if c, err = l.dialQUIC(ctx); err == nil {
			return c.serve()
		}
	} else {
		var c *http2Connection
		if c, err = l.dialHTTP2(ctx); err == nil {
			return c.serve()
		}
	}
	return fmt.Errorf("connect to the edge at %s by %s: %w", l.address, l.protocol, err)
}

// enter notes that a request is served, until leave. It reports false when the connection
// has ended.
func (l *link) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.serving.Add(1)
	return true
}

func (l *link) leave() { l.serving.Done() }

// wait waits for all requests; none may begin any more.
func (l *link) wait() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.serving.Wait()
}

func (l *link) isRegistered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.registered
}
