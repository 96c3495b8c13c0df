package address

import (
	"context"
	"fmt"
	"net/netip"
	"time"
)

// stepInterval is how exact pauses are while addresses are wanted.
const stepInterval = 50 * time.Millisecond

// session holds addresses on one interface until ctx ends, nothing is wanted, or the
// interface fails. It returns the last want.
func (a *Announcer) session(ctx context.Context, want Want) (Want, error) {
	name, err := a.options.chooseInterface()
	if err != nil {
		return want, err
	}
	seat, err := a.awaitNode(ctx, name, &want)
	if seat == nil || err != nil {
		return want, err
	}
	defer seat.Leave()
	taken := time.Now()
	kernel, err := openKernel(name)
	if err != nil {
		return want, err
	}
	defer kernel.close()
	s := &session{kernel: kernel}
	lost, stop, err := kernel.watch()
	if err != nil {
		return want, err
	}
	defer stop()
	s.lost = lost
	e := newElection(s, a.options.Name+"/"+kernel.link.HardwareAddr.String(), a.log.With("interface", name))
	e.alone = kernel.loopback()
	e.want(want.number(), want.Addresses) // first of all: it keeps what a process before this one had
	if !e.alone {
		if s.wire, err = openWire(kernel.link); err != nil {
			return want, err
		}
		defer s.wire.close()
	}
	want, err = a.follow(ctx, e, s, want)
	if err != nil {
		e.leave()
		return want, err
	}
	depart(ctx, e, seat, taken)
	return want, nil
}

// follow is the loop of a session.
func (a *Announcer) follow(ctx context.Context, e *election, s *session, want Want) (Want, error) {
	tick := time.NewTicker(stepInterval)
	defer tick.Stop()
	wasUp := true
	for {
		up, err := s.kernel.up()
		if err != nil {
			return want, err
		}
		s.drain(e)
		now := time.Now()
		if up != wasUp { // in between we heard nobody
			e.reset(now, "the interface is down")
		}
		if wasUp = up; up {
			e.step(now)
			a.answers.Set(e.answers(now))
		} else {
			a.answers.Set(refusal(want, fmt.Sprintf("the interface %s is down", s.kernel.link.Name)))
		}
		select {
		case <-ctx.Done():
			return want, nil
		case <-a.newest.Full():
			if want = a.newest.Take(); len(want.Addresses) == 0 {
				return want, nil
			}
			e.want(want.number(), want.Addresses)
		case r := <-s.received():
			r.tell(e)
		case addr := <-s.lost:
			e.restore(addr, time.Now())
		case <-tick.C:
		}
	}
}

// session is the medium of an election.
type session struct {
	kernel *kernel
	lost   <-chan netip.Addr // addresses that went away
	wire   *wire             // nil on lo
}

func (s *session) probe(addr netip.Addr) { s.wire.probe(addr) }

func (s *session) announce(addr netip.Addr) {
	if s.wire != nil {
		s.wire.announce(addr)
	}
}

func (s *session) take(addr netip.Addr) error {
	if err := s.kernel.find(addr); err != nil {
		return err
	}
	return s.kernel.hold(addr)
}

func (s *session) hold(addr netip.Addr) error { return s.kernel.hold(addr) }

func (s *session) drop(addr netip.Addr) error { return s.kernel.drop(addr) }

func (s *session) adopt(addrs []netip.Addr) []netip.Addr { return s.kernel.adopt(addrs) }

func (s *session) beat(group uint64, name string, claims []claim) {
	if s.wire == nil {
		return
	}
	for _, h := range heartbeats(group, name, claims) {
		s.wire.send(heartbeatType, ethernet(broadcast(), s.wire.host, heartbeatType, h.encode()))
	}
}

// drain reads what has come already: before it is known, nobody counts as dead.
func (s *session) drain(e *election) {
	for {
		select {
		case r := <-s.received():
			r.tell(e)
		default:
			return
		}
	}
}

func (s *session) received() <-chan received {
	if s.wire == nil {
		return nil
	}
	return s.wire.received
}
