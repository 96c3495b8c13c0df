package address

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/lintel-dev/lintel/internal/succession"
)

// settleTime is enough for a process to wait for the seat again that it did not get.
const settleTime = 500 * time.Millisecond

// awaitNode waits until no other process of this node, such as one that is being
// replaced, announces for the same group, and returns the addresses that the one before has
// left. It returns no seat if there is nothing to do any more.
func (a *Announcer) awaitNode(ctx context.Context, name string, want *Want) (seat *succession.Seat, left []netip.Addr, err error) {
	for len(want.Addresses) > 0 && ctx.Err() == nil && !a.isRetired() {
		number := want.number()
		place := fmt.Sprintf("lintel/addresses/%s/%x", name, number)
		seat, err = succession.Take(place, nil)
		if !errors.Is(err, succession.ErrTaken) {
			return seat, left, explain("lock addresses of this node", err)
		}
		if more := a.queue(ctx, place, want); more != nil {
			left = more // or else what the one before has left, if it is still there
		}
		if want.number() != number {
			left = nil
		}
	}
	return nil, nil, nil
}

// queue waits until the process that has the place leaves it, and returns what that has
// left; or until it makes no sense to wait any more.
func (a *Announcer) queue(ctx context.Context, place string, want *Want) (left []netip.Addr) {
	words := make(chan []byte, 1)
	queue, err := succession.Queue(place)
	if err != nil { // it is free, or another user's, who can't be asked
		time.AfterFunc(retrySoon, func() { words <- nil })
	} else {
		defer func() { _ = queue.Close() }()
		go func() {
			text, _ := io.ReadAll(queue) // at its end the other process is gone
			words <- text
		}()
	}
	a.answers.Set(refusal(*want, "")) // they are the other's
	number := want.number()
	for {
		select {
		case text := <-words:
			return heritage(text)
		case <-ctx.Done():
			return nil
		case <-a.retired:
			return nil
		case <-a.newest.Full():
			if *want = a.newest.Take(); len(want.Addresses) == 0 || want.number() != number {
				return nil
			}
			a.answers.Set(refusal(*want, ""))
		}
	}
}

// bequest is what this process says when it leaves the seat: the addresses that it has, if
// another process waits for them. One that had the seat only for a moment may have kept
// others from it that are about to wait again.
func bequest(ctx context.Context, e *election, seat *succession.Seat, taken time.Time) []byte {
	if ctx.Err() == nil {
		return nil
	}
	if !seat.AwaitQueue(time.Until(taken.Add(settleTime))) {
		return nil
	}
	return will(e.bequeath())
}

// will is what a process says that leaves addresses to the next one.
func will(left []netip.Addr) []byte {
	text, err := json.Marshal(left)
	if err != nil {
		panic(err) // addresses have a text
	}
	return text
}

// heritage is what a will says. A process that was killed has left none.
func heritage(text []byte) []netip.Addr {
	var left []netip.Addr
	if json.Unmarshal(text, &left) != nil {
		return nil
	}
	return left
}
