package socketlb

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/bpf/bpftest"
	"github.com/lintel-dev/lintel/internal/filelimit"
)

// faults hands on what is logged as an error.
type faults struct {
	slog.Handler
	told chan string
}

func (f faults) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		f.told <- r.Message
	}
	return nil
}

// TestTooManyOpenFilesPass has a process have too many open files (EMFILE) when it begins, or when
// there is something to do at last: it goes on when it has fewer.
func TestTooManyOpenFilesPass(t *testing.T) {
	for _, pinned := range []bool{true, false} {
		name := map[bool]string{true: "pinned", false: "its own"}[pinned]
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			const endpoint = "127.0.0.2:1001"
			o := Options{Cgroup: w.cgroup, Sizes: Sizes{Addresses: 100}.orSmall()}
			if pinned {
				o.Pins = bpftest.Pins(t, Feature)
				defer func() {
					if err := o.Pins.Remove(); err != nil {
						t.Error(err)
					}
				}()
			}
			logged := faults{slog.NewTextHandler(io.Discard, nil), make(chan string, 10)}
			o.Log = slog.New(logged)
			belowLimit := filelimit.Reach(t)
			ctx, cancel := context.WithCancel(context.Background())
			p := &process{New(o), t, cancel, make(chan error, 1)}
			p.Apply(Services{"n/a": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80"), Endpoints: []netip.AddrPort{netip.MustParseAddrPort(endpoint)}}}})
			go func() { p.ended <- p.Run(ctx) }()
			defer p.stop()
			select {
			case <-logged.told:
			case <-time.After(20 * time.Second):
				t.Fatal("nothing is said to be wrong")
			}
			belowLimit()
			w.serve(TCP, endpoint, "a")
			for deadline := time.Now().Add(20 * time.Second); p.Applied() == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("what is wanted does not come into effect")
				}
			}
			if name, _, err := w.connect(tcp4(), "10.96.0.1:80"); name != "a" {
				t.Errorf("%q answers, %v", name, err)
			}
		})
	}
}

// A folder of pins that somebody removed while another process had it is made again.
func TestPinsThatWereRemovedAreOwned(t *testing.T) {
	newWorld(t)
	pins := bpftest.Pins(t, Feature)
	if err := pins.Remove(); err != nil {
		t.Fatal(err)
	}
	owned, err := pins.Own()
	if owned == nil || err != nil {
		t.Fatalf("owned %v, %v", owned, err)
	}
	owned.Close()
}
