package socketlb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/lintel-dev/lintel/bpf"
	"github.com/lintel-dev/lintel/internal/latest"
)

const (
	// retryAfter is how long what failed rests before it is tried again.
	retryAfter = 5 * time.Second
	// turnPoll is how often a process asks whether the one before it has ended.
	turnPoll = 100 * time.Millisecond
)

// Options say what a Balancer serves.
type Options struct {
	// Cgroup is the folder of the cgroup whose sockets are served, and those below it.
	Cgroup string
	// Pins is where programs and maps outlive the process; the zero Pins are for those that
	// end with it.
	Pins bpf.Pins
	// Sizes of maps; those that are 0 are small, for one program's sockets.
	Sizes Sizes
	Log   *slog.Logger
}

// small is room for what one program connects to, and 2 MiB.
func (s Sizes) orSmall() Sizes {
	return Sizes{
		Addresses: cmp.Or(s.Addresses, 1<<15), Endpoints: cmp.Or(s.Endpoints, 1<<16),
		Clients: cmp.Or(s.Clients, 1<<7), Sockets: cmp.Or(s.Sockets, 1<<10), Connected: cmp.Or(s.Connected, 1<<10),
	}
}

// NodeSizes is room for a whole node, and about 17 MiB.
func NodeSizes() Sizes {
	return Sizes{Addresses: 1 << 16, Endpoints: 1 << 17, Clients: 1 << 14, Sockets: 1 << 16, Connected: 1 << 15}
}

// Balancer keeps the kernel's tables equal to the Services that it is told of. Apply may be
// called by any goroutine.
type Balancer struct {
	options Options
	want    *latest.Box[Services]
	applied atomic.Uint64

	programs *programs
	table    *table
	owned    io.Closer // the pins
	active   bool
	fault    string // that was logged last
}

// New returns a Balancer that does nothing yet.
func New(o Options) *Balancer {
	o.Sizes = o.Sizes.orSmall()
	return &Balancer{options: o, want: latest.New[Services]()}
}

// Apply makes all Services those that are wanted; the newest call wins. It never blocks.
func (b *Balancer) Apply(want Services) { b.want.Put(want) }

// Applied counts how often all that was wanted has come into effect.
func (b *Balancer) Applied() uint64 { return b.applied.Load() }

// Run serves until ctx ends. Nothing is attached before there is a Service with an
// address. What is wrong is logged, and tried again; errors that wrap bpf.ErrUnavailable
// are for good, and end it. It must be called once.
func (b *Balancer) Run(ctx context.Context) error {
	defer b.close()
	// What another process writes meanwhile is newer than what we were told so far.
	b.takeTurn(ctx)
	var want Services
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.want.Full():
			want = b.want.Take()
		case <-retry:
		}
		retry = nil
		if b.programs == nil && !hasAddress(want) && b.options.Pins.Folder() == "" {
			continue
		}
		err := b.apply(want)
		switch {
		case errors.Is(err, bpf.ErrUnavailable):
			return err
		case err != nil:
			retry = time.After(retryAfter)
		}
		b.report(err)
	}
}

func hasAddress(want Services) bool {
	for _, ports := range want {
		for i := range ports {
			if len(ports[i].Addresses) > 0 {
				return true
			}
		}
	}
	return false
}

// apply opens what is needed, writes the tables, and attaches the programs to them.
func (b *Balancer) apply(want Services) error {
	if err := b.open(); err != nil {
		return err
	}
	full := b.table.apply(want)
	if !b.active {
		if err := b.programs.attach(b.options.Cgroup); err != nil {
			return errors.Join(full, err)
		}
		b.active = true
		b.options.Log.Info("sockets connect to Services' endpoints by themselves", "cgroup", b.options.Cgroup, "pins", b.options.Pins.Folder(), "addresses", len(b.table.current))
	}
	if full == nil {
		b.applied.Add(1)
	}
	return full
}

// open loads the programs.
func (b *Balancer) open() error {
	if b.table != nil {
		return nil
	}
	loaded, err := load(b.options.Pins, b.options.Sizes)
	if err != nil {
		return err
	}
	table, err := newTable(loaded.collection.Maps)
	if err != nil {
		loaded.close()
		return err
	}
	b.programs, b.table = loaded, table
	return nil
}

// takeTurn waits until no other process has the pins, or ctx ends.
func (b *Balancer) takeTurn(ctx context.Context) {
	if b.options.Pins.Folder() == "" {
		return
	}
	poll := time.NewTicker(turnPoll)
	defer poll.Stop()
	for waited := false; ; waited = true {
		owned, err := b.options.Pins.Own()
		if owned != nil {
			b.owned = owned
			return
		}
		if err != nil {
			b.report(err)
		} else if !waited {
			b.options.Log.Info("another process balances sockets on this machine; going on when it ends", "pins", b.options.Pins.Folder())
		}
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		}
	}
}

// report logs what changed of what is wrong.
func (b *Balancer) report(err error) {
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	if fault == b.fault {
		return
	}
	b.fault = fault
	if err != nil {
		b.options.Log.Error("not every Service is balanced by sockets", "why", fault)
	} else {
		b.options.Log.Info("every Service is balanced by sockets again")
	}
}

func (b *Balancer) close() {
	if b.programs != nil {
		b.programs.close()
	}
	if b.owned != nil {
		_ = b.owned.Close() // the next process may go on
	}
}

// Attached tells whether a Balancer without Pins serves a cgroup, or somebody else does
// the same there.
func Attached(cgroup string) (bool, error) {
	folder, err := os.Open(cgroup)
	if err != nil {
		return false, fmt.Errorf("open cgroup: %w", err)
	}
	defer folder.Close()
	found, err := link.QueryPrograms(link.QueryOptions{Target: int(folder.Fd()), Attach: ebpf.AttachCGroupInet4Connect})
	if err != nil {
		return false, fmt.Errorf("ask for programs of %s: %w", cgroup, err)
	}
	return len(found.Programs) > 0, nil
}

// Active says in a few words what the pins hold; "" is nothing that is attached.
func Active(pins bpf.Pins) (string, error) {
	cgroup, attached := "", 0
	for _, a := range attachments() {
		l, err := pins.Link(linkPin(a.program))
		if err != nil {
			continue
		}
		if info, err := l.Info(); err == nil && info.Cgroup() != nil && info.Cgroup().CgroupId != 0 {
			attached++
			cgroup = fmt.Sprint(info.Cgroup().CgroupId)
		}
		_ = l.Close() // it was only looked at
	}
	if attached == 0 {
		return "", nil
	}
	services, err := pins.Map(lbMapLbServices)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", pins.Path(lbMapLbServices), err)
	}
	defer func() { _ = services.Close() }() // it was only read
	addresses := 0
	var key lbServiceKey
	var value lbService
	for all := services.Iterate(); all.Next(&key, &value); {
		addresses++
	}
	return fmt.Sprintf("%d of %d programs on the cgroup with inode %s, %d addresses of Services", attached, len(attachments()), cgroup, addresses), nil
}
