package address

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/internal/latest"
)

// reopenInterval is when an interface that failed, or is not there, is tried again.
const reopenInterval = time.Second

// Options are what an Announcer needs.
type Options struct {
	// Interface is where addresses are put and announced. "" chooses the one of the
	// default route, or else lo, which announces nothing.
	Interface string
	// Name is this node's: the same one after a restart.
	Name string
	// Log receives what a person should know: nil discards.
	Log *slog.Logger
}

// Want is what shall be reachable.
type Want struct {
	// Group tells replicas that share addresses from strangers: it is the same for all
	// of them, and another for any other installation on the network.
	Group     string
	Addresses []netip.Addr
}

// Announcer makes addresses reachable on a local network, together with the replicas
// on other nodes that want the same. Without any wanted address it opens nothing. Its
// methods may be called from any goroutine.
type Announcer struct {
	options Options
	log     *slog.Logger
	newest  *latest.Box[Want]
	answers *latest.Answers[netip.Addr]
	retired chan struct{} // closed by Retire
	retire  sync.Once
}

// New returns an Announcer that does nothing until Run.
func New(o Options) *Announcer {
	a := &Announcer{options: o, log: o.Log, newest: latest.New[Want](), answers: latest.NewAnswers[netip.Addr](), retired: make(chan struct{})}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	return a
}

// Apply replaces what is wanted; it never blocks.
func (a *Announcer) Apply(w Want) {
	w.Addresses = normal(w.Addresses)
	a.newest.Put(w)
}

// Retire says that this process is about to end: it keeps the addresses that it has until
// Run's context ends, but if another process of the node has them it takes no turn any more.
func (a *Announcer) Retire() { a.retire.Do(func() { close(a.retired) }) }

func (a *Announcer) isRetired() bool {
	select {
	case <-a.retired:
		return true
	default:
		return false
	}
}

// Changes is readable when answers changed since it was last read.
func (a *Announcer) Changes() <-chan struct{} { return a.answers.Changed() }

// Answers returns "" for each wanted address that is announced by this replica or by
// another, or else why it cannot be used. One that was not tried yet is missing. The
// map is the caller's.
func (a *Announcer) Answers() map[netip.Addr]string { return a.answers.All() }

// Run holds the newest wanted addresses until ctx ends, and then gives them up. What
// fails is tried again and part of the answers: the error is always nil.
func (a *Announcer) Run(ctx context.Context) error {
	var want Want
	var said string
	for ctx.Err() == nil {
		for len(want.Addresses) == 0 || a.isRetired() {
			a.answers.Set(nil)
			select {
			case <-ctx.Done():
				return nil
			case <-a.newest.Full():
				want = a.newest.Take()
			}
		}
		var err error
		if want, err = a.session(ctx, want); err == nil {
			said = ""
			continue
		}
		if said != err.Error() {
			said = err.Error()
			a.log.Error("cannot announce addresses", "err", err)
		}
		a.answers.Set(refusal(want, err.Error()))
		select {
		case <-ctx.Done():
		case <-a.newest.Full():
			want = a.newest.Take()
		case <-time.After(reopenInterval):
		}
	}
	return nil
}

// refusal answers the same for every wanted address.
func refusal(want Want, why string) map[netip.Addr]string {
	answers := make(map[netip.Addr]string, len(want.Addresses))
	for _, addr := range want.Addresses {
		answers[addr] = why
	}
	return answers
}

// number returns the same for the same group.
func (w Want) number() uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(w.Group))
	return h.Sum64()
}

// explain says what is missing where the kernel only says no.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("%s: Lintel needs the capabilities NET_ADMIN and NET_RAW for addresses of pools (securityContext.capabilities.add): %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// normal returns addresses in the form in which they are seen on the network.
func normal(addrs []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, len(addrs))
	for _, addr := range addrs {
		out = append(out, addr.Unmap().WithZone(""))
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
