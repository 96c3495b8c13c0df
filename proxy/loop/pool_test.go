//go:build linux

package loop

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// taker takes an idle connection when it is ready.
type taker struct {
	conn
	endpoint *router.Endpoint
	got      *upstream
}

func (t *taker) ready() { t.got = t.loop.get(t.endpoint) }

// An idle connection whose end stands behind a batch of events that is full is not used.
func TestFullBatchDoesNotTellAll(t *testing.T) {
	settings := exchange.Settings{}.WithDefaults()
	l, err := newLoop(Config{Settings: &settings, Stats: new(exchange.Stats), Dates: new(exchange.Dates)}, 1, newCommons(new(exchange.Stats)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.end()
	l.tell()
	backend := router.NewBackend("default/app:80")
	backend.SetEndpoints([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:80")})
	endpoint := backend.Endpoints()[0]

	idle, peer := pair(t)
	u := &upstream{endpoint: endpoint, born: l.clock}
	if !u.open(l, u, idle) {
		t.Fatal("no idle connection")
	}
	l.gauges.upstream++
	l.dispatch(l.poller.poll()) // it is writable
	l.put(u)
	l.poller.poll()

	first, other := pair(t)
	defer closeDescriptor(other)
	asks := &taker{endpoint: endpoint}
	if !asks.open(l, asks, first) {
		t.Fatal("no connection")
	}
	defer asks.close()
	for range batch - 1 {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer closeDescriptor(fd)
		if err := l.poller.add(fd, 0); err != nil {
			t.Fatal(err)
		}
	}
	closeDescriptor(peer)
	l.dispatch(l.poller.poll())
	if asks.got != nil {
		t.Error("a connection that its peer has closed was taken")
	}
}

// pair returns two connected sockets.
func pair(t *testing.T) (one, other int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}
