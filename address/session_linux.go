package address

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	lock, err := a.awaitNode(ctx, name, &want)
	if lock == nil || err != nil {
		return want, err
	}
	defer lock.Close()
	kernel, err := openKernel(name)
	if err != nil {
		return want, err
	}
	defer kernel.close()
	s := &session{kernel: kernel}
	if !kernel.loopback() {
		if s.wire, err = openWire(kernel.link); err != nil {
			return want, err
		}
		defer s.wire.close()
	}
	e := newElection(s, a.options.Name+"/"+kernel.link.HardwareAddr.String(), a.log.With("interface", name))
	e.alone = s.wire == nil
	e.want(want.number(), want.Addresses)
	defer e.leave()
	return a.follow(ctx, e, s, want)
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
			a.setAnswers(e.answers(now))
		} else {
			a.setAnswers(refusal(want, fmt.Sprintf("the interface %s is down", s.kernel.link.Name)))
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
		case <-tick.C:
		}
	}
}

// awaitNode waits until no other process of this node, such as one that is being
// replaced, announces for the same group. It returns nil if there is nothing to do
// any more. The kernel lets go of an abstract socket when its process ends.
func (a *Announcer) awaitNode(ctx context.Context, name string, want *Want) (net.Listener, error) {
	var config net.ListenConfig
	for len(want.Addresses) > 0 && ctx.Err() == nil {
		lock, err := config.Listen(ctx, "unix", fmt.Sprintf("@lintel/addresses/%s/%x", name, want.number()))
		if !errors.Is(err, errInUse) {
			return lock, explain("lock addresses of this node", err)
		}
		a.setAnswers(refusal(*want, "")) // they are the other's
		select {
		case <-ctx.Done():
		case <-a.newest.Full():
			*want = a.newest.Take()
		case <-time.After(retrySoon):
		}
	}
	return nil, nil
}

// session is the medium of an election.
type session struct {
	kernel *kernel
	wire   *wire // nil on lo
}

func (s *session) probe(addr netip.Addr) { s.wire.probe(addr) }

func (s *session) announce(addr netip.Addr) {
	if s.wire != nil {
		s.wire.announce(addr)
	}
}

func (s *session) take(addr netip.Addr) error {
	if _, err := s.kernel.find(addr); err != nil {
		return err
	}
	return s.kernel.hold(addr)
}

func (s *session) hold(addr netip.Addr) error { return s.kernel.hold(addr) }

func (s *session) drop(addr netip.Addr) error { return s.kernel.drop(addr) }

func (s *session) discard(addr netip.Addr) {
	if ours, _ := s.kernel.find(addr); ours {
		_ = s.kernel.drop(addr) // at worst it lasts for a second
	}
}

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
