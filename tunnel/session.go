package tunnel

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// retryQUIC is how long Auto stays with HTTP/2 after QUIC did not get through.
const retryQUIC = time.Hour

// session is a tunnel with one Config, and its connections. To the edge it is a connector
// of its own.
type session struct {
	settings *Settings
	name     string
	config   Config
	edge     *Edge
	id       uuid.UUID
	book     *addressBook
	version  atomic.Int32 // of the configuration that the edge sent last

	// stopping ends when no more connections are wanted; stop ends it.
	stopping context.Context
	stop     context.CancelFunc

	connected chan struct{} // closed when the first connection was registered
	connect   sync.Once
	draining  sync.WaitGroup // connections that a slot has given up, and their requests

	mu       sync.Mutex // guards what follows
	slots    []slotState
	totals   Totals
	fellBack time.Time // when QUIC did not get through
}

func newSession(s *Settings, name string, config Config) *session {
	edge := config.Edge
	if edge == nil {
		edge = &s.Edge
	}
	n := &session{
		settings: s, name: name, config: config, edge: edge, id: uuid.New(),
		book:      newAddressBook(edge, config.Credentials.Endpoint),
		connected: make(chan struct{}),
		slots:     make([]slotState, s.Connections),
	}
	n.version.Store(-1)
	n.stopping, n.stop = context.WithCancel(context.Background())
	return n
}

// run keeps the session's connections until stop was called and all of them have drained.
func (s *session) run() {
	var slots sync.WaitGroup
	for i := range s.slots {
		slots.Go(func() { s.keep(i) })
	}
	slots.Wait()
	s.draining.Wait()
}

// protocol is what the next connection speaks.
func (s *session) protocol() Protocol {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.config.Protocol {
	case QUIC:
		return QUIC
	case Auto:
		if s.fellBack.IsZero() || time.Since(s.fellBack) > retryQUIC {
			return QUIC
		}
	}
	return HTTP2
}

// fallBack notes that QUIC did not get through, and reports whether there is another
// protocol to be tried. While other connections speak QUIC it does get through: then it is this
// attempt alone that failed.
func (s *session) fallBack() bool {
	if s.config.Protocol != Auto {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.slots {
		if c := s.slots[i].connection; c != nil && c.Protocol == QUIC {
			return false
		}
	}
	s.fellBack = time.Now()
	return true
}

// register notes that a connection is registered.
func (s *session) register(c Connection) {
	s.mu.Lock()
	s.slots[c.Index] = slotState{connection: &c}
	s.totals.Registered++
	s.mu.Unlock()
	s.settings.Log.Info("tunnel connected", "tunnel", s.name, "connection", c.Index,
		"location", c.Location, "edge", c.Address.String(), "protocol", string(c.Protocol))
	s.connect.Do(func() { close(s.connected) })
	s.settings.Changed()
}

// unregister notes that a connection gets no more requests.
func (s *session) unregister(index int) {
	s.mu.Lock()
	s.slots[index].connection = nil
	s.mu.Unlock()
	s.settings.Changed()
}

// fail notes why a connection ended or was not made.
func (s *session) fail(index int, f Failure, count func(*Totals)) {
	s.mu.Lock()
	repeated := s.slots[index].failure != nil && s.slots[index].failure.Reason == f.Reason
	s.slots[index] = slotState{failure: &f}
	count(&s.totals)
	s.mu.Unlock()
	if !repeated {
		s.settings.Log.Warn("tunnel not connected", "tunnel", s.name, "connection", index, "permanent", f.Permanent, "error", f.Reason)
	}
	s.settings.Changed()
}

func (s *session) totalsNow() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totals
}

// report adds what there is to say to a Status. Only of the session that is wanted it
// matters what it has failed with.
func (s *session) report(status *Status, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slots := append([]slotState(nil), s.slots...)
	if !wanted {
		for i := range slots {
			slots[i].failure = nil
		}
	}
	status.add(slots)
	status.Registered += s.totals.Registered
	status.Refused += s.totals.Refused
	status.Failed += s.totals.Failed
	status.Lost += s.totals.Lost
}

// pause waits for about d, at least half of it. It returns at once when the session stops.
func (s *session) pause(d time.Duration) {
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.stopping.Done():
	}
}
