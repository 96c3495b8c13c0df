//go:build linux

package loop

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// A socket that the kernel has no room to watch just now (ENOSPC, ENOMEM) is accepted from as soon as
// it has.
func TestListenerIsWatchedLater(t *testing.T) {
	settings := exchange.Settings{}.WithDefaults()
	group, err := New(Config{Settings: &settings, Loops: 1, Stats: new(exchange.Stats), Dates: new(exchange.Dates)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = group.Run(ctx) })
	defer running.Wait()
	defer stop()

	in := listen(t, nil)
	defer in.Close()
	wire, err := in.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	accepted, failures := make(chan struct{}, 1), 0
	var listener *Listener
	err = wire.Control(func(fd uintptr) {
		poller := group.loops[0].poller
		if err := poller.add(int(fd), 0); err != nil { // so it cannot be added
			t.Fatal(err)
		}
		listener = group.Listen(Listening{
			FD: int(fd),
			Accepted: func(fd int, _, _ netip.AddrPort) {
				closeDescriptor(fd)
				accepted <- struct{}{}
			},
			Failed: func(_ error, pause time.Duration) {
				if failures++; failures == 2 {
					poller.remove(int(fd))
				}
				if pause <= 0 {
					t.Error("there is no pause")
				}
			},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", in.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	select {
	case <-accepted:
	case <-time.After(20 * time.Second):
		t.Error("nobody accepts")
	}
	listener.Close()
}
