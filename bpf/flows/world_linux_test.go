package flows

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf/bpftest"
)

// world is a network namespace and a cgroup that the test is in, with a listener on
// loopback. Sockets are made by system calls, on the test's goroutine.
type world struct {
	testing.TB
	cgroup   string
	listener int
	at       unix.SockaddrInet4
}

func newWorld(t testing.TB) *world {
	t.Helper()
	bpftest.Require(t, Needs().Probe())
	bpftest.NothingLeft(t, "lt_flow")
	w := &world{TB: t, cgroup: bpftest.Cgroup(t)}
	bpftest.Namespace(t)
	bpftest.Enter(t, w.cgroup)
	w.listen(1024)
	return w
}

// listen opens another listener, of a backlog.
func (w *world) listen(backlog int) {
	w.Helper()
	w.listener = w.socket()
	if err := unix.Bind(w.listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		w.Fatal(err)
	}
	if err := unix.Listen(w.listener, backlog); err != nil {
		w.Fatal(err)
	}
	at, err := unix.Getsockname(w.listener)
	if err != nil {
		w.Fatal(err)
	}
	w.at = *at.(*unix.SockaddrInet4)
	listener := w.listener
	w.Cleanup(func() { _ = unix.Close(listener) }) // what it accepted is closed
}

func (w *world) socket() int {
	w.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// connect returns both ends of a connection.
func (w *world) connect() (client, server int) {
	w.Helper()
	client = w.socket()
	if err := unix.Connect(client, &w.at); err != nil {
		w.Fatal(err)
	}
	server, _, err := unix.Accept4(w.listener, unix.SOCK_CLOEXEC)
	if err != nil {
		w.Fatal(err)
	}
	return client, server
}

// send moves bytes from one end to the other.
func (w *world) send(from, to, bytes int) {
	w.Helper()
	w.write(from, bytes)
	w.read(to, bytes)
}

func (w *world) write(to, bytes int) {
	w.Helper()
	if n, err := unix.Write(to, make([]byte, bytes)); err != nil || n != bytes {
		w.Fatalf("write: %d, %v", n, err)
	}
}

func (w *world) read(from, bytes int) {
	w.Helper()
	buffer := make([]byte, bytes)
	for got := 0; got < bytes; {
		n, err := unix.Read(from, buffer)
		if err != nil || n == 0 {
			w.Fatalf("read: %d, %v", n, err)
		}
		got += n
	}
}

// readEnd expects the end of what the other side sends.
func (w *world) readEnd(from int) {
	w.Helper()
	if n, err := unix.Read(from, make([]byte, 1)); err != nil || n != 0 {
		w.Fatalf("read the end: %d, %v", n, err)
	}
}

// confirmed waits until the other kernel has said that it has all.
func (w *world) confirmed(socket int) {
	w.Helper()
	for {
		info, err := unix.GetsockoptTCPInfo(socket, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			w.Fatal(err)
		}
		if info.Unacked == 0 {
			return
		}
		_, _ = unix.Poll(nil, 1) // it may be late on purpose
	}
}

func (w *world) close(sockets ...int) {
	w.Helper()
	for _, s := range sockets {
		if err := unix.Close(s); err != nil {
			w.Fatal(err)
		}
	}
}

// reset closes a socket so that the other end is told that something went wrong.
func (w *world) reset(socket int) {
	w.Helper()
	if err := unix.SetsockoptLinger(socket, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		w.Fatal(err)
	}
	w.close(socket)
}

// place is where a socket is.
func (w *world) place(socket int) netip.AddrPort {
	w.Helper()
	name, err := unix.Getsockname(socket)
	if err != nil {
		w.Fatal(err)
	}
	at := name.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port)) //nolint:gosec // a port
}

// ledger is what a Recorder told of.
type ledger struct {
	flows []Flow
	lost  uint64
}

func (l *ledger) Flow(f *Flow)  { l.flows = append(l.flows, *f) }
func (l *ledger) Lost(n uint64) { l.lost += n }

// by returns the end of a connection, with nothing that is different each time.
func (l *ledger) by(t testing.TB, local netip.AddrPort) Flow {
	t.Helper()
	for _, f := range l.flows {
		if f.Local == local {
			f.RTT, f.MinRTT, f.Duration, f.Retransmits, f.Ended = 0, 0, 0, 0, time.Time{}
			return f
		}
	}
	t.Fatalf("there is no record of %s among %+v", local, l.flows)
	return Flow{}
}

// attach begins to record.
func (w *world) attach(ring int) *Recorder {
	w.Helper()
	r, err := Attach(Options{Cgroup: w.cgroup, Ring: ring})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = r.Close() }) // for a test that failed before
	return r
}

// finish ends the recording, and returns all that it told of.
func (w *world) finish(r *Recorder) *ledger {
	w.Helper()
	l := &ledger{}
	ctx, cancel := context.WithCancel(w.Context())
	cancel()
	if err := r.Run(ctx, l); err != nil {
		w.Fatal(err)
	}
	return l
}

// processor is how much time of it the calling thread used, in the kernel too.
func processor(t testing.TB) time.Duration {
	t.Helper()
	var used unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Nano())
}
