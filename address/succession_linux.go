package address

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lintel-dev/lintel/internal/succession"
)

const (
	// requeueTime is enough for a process to queue again for a seat that another got.
	requeueTime = 500 * time.Millisecond
	// requeuePause is how long a process waits that came when a seat changed hands: so
	// short that requeueTime is enough for it too.
	requeuePause = 10 * time.Millisecond
)

// seatName names the seat of a group's addresses on an interface of this node. Who has the
// seat is the only one that gives the interface addresses or takes them away.
func seatName(link string, group uint64) string {
	return fmt.Sprintf("lintel/addresses/%s/%x", link, group)
}

// awaitNode waits until no other process of this node, such as one that is being
// replaced, announces for the same group. It returns no seat if there is nothing to do any
// more.
func (a *Announcer) awaitNode(ctx context.Context, name string, want *Want) (*succession.Seat, error) {
	for len(want.Addresses) > 0 && ctx.Err() == nil && !a.isRetired() {
		place := seatName(name, want.number())
		seat, err := succession.Take(place, nil)
		if !errors.Is(err, succession.ErrTaken) {
			return seat, explain("lock addresses of this node", err)
		}
		a.queue(ctx, place, want)
	}
	return nil, nil
}

// queue waits until the process that has the place leaves it, or until it makes no sense to
// wait any more.
func (a *Announcer) queue(ctx context.Context, place string, want *Want) {
	free := make(chan struct{})
	queue, err := succession.Queue(place)
	switch {
	case errors.Is(err, succession.ErrFree): // it changes hands
		time.AfterFunc(requeuePause, func() { close(free) })
	case err != nil: // it is another user's, who can't be asked
		time.AfterFunc(retrySoon, func() { close(free) })
	default:
		defer func() { _ = queue.Close() }()
		go func() {
			defer close(free)
			_, _ = io.Copy(io.Discard, queue) // at its end the other process is gone
		}()
	}
	a.answers.Set(refusal(*want, "")) // they are the other's
	number := want.number()
	for {
		select {
		case <-free:
			return
		case <-ctx.Done():
			return
		case <-a.retired:
			return
		case <-a.newest.Full():
			if *want = a.newest.Take(); len(want.Addresses) == 0 || want.number() != number {
				return
			}
			a.answers.Set(refusal(*want, ""))
		}
	}
}

// depart is how this process ends. If another process of the node waits, the addresses stay
// for a lifetime and the other replicas are told nothing; or else they are given up. A process
// that had the seat only for a moment may have kept others from it that are about to wait again.
func depart(ctx context.Context, e *election, seat *succession.Seat, taken time.Time) {
	if ctx.Err() != nil && seat.LastCall(time.Until(taken.Add(requeueTime))) {
		e.renew(time.Now())
		return
	}
	e.leave()
}
