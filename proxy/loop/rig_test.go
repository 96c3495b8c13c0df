//go:build linux

package loop

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a Group that serves what a listener accepts, from one backend.
type rig struct {
	t      *testing.T
	group  *Group
	stats  exchange.Stats
	table  *router.Table
	in     net.Listener
	handed chan HandedOver
	closed atomic.Int64
	drains atomic.Uint32
	end    func()
}

// The methods of Socket.

func (*rig) Name() string              { return "test" }
func (r *rig) Table() *router.Table    { return r.table }
func (r *rig) Drained() uint32         { return r.drains.Load() }
func (r *rig) Closed(netip.AddrPort)   { r.closed.Add(1) }
func (r *rig) HandOver(out HandedOver) { r.handed <- out }
func (*rig) TakeOver(TakenOver)        {}
func (*rig) Shake(net.Conn) Shaken     { return Shaken{} }
func (r *rig) address() string         { return r.in.Addr().String() }

// newRig returns a running rig whose backend answers with serve, by a rule that may be
// changed before.
func newRig(t *testing.T, serve func(net.Conn, *bufio.Reader), changes ...func(*router.Action)) *rig {
	t.Helper()
	rule := &router.Rule{Match: router.Match{Path: router.PathMatch{Value: "/"}}}
	rule.Action.Backends = []router.WeightedBackend{{Backend: backendOf(t, serve), Weight: 1}}
	for _, change := range changes {
		change(&rule.Action)
	}

	r := &rig{t: t, handed: make(chan HandedOver, 1)}
	r.table = router.Compile([]router.HostRules{{Socket: "test", Rules: []*router.Rule{rule}}}, nil)
	settings := exchange.Settings{}.WithDefaults()
	group, err := New(Config{Settings: &settings, Loops: 2, Stats: &r.stats, Dates: new(exchange.Dates)})
	if err != nil {
		t.Fatal(err)
	}
	r.group = group
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = group.Run(ctx) })
	r.in = listen(t, nil)
	running.Go(r.accept)
	r.end = sync.OnceFunc(func() {
		r.in.Close()
		stop()
		running.Wait()
	})
	t.Cleanup(r.end)
	return r
}

// accept gives connections to the group.
func (r *rig) accept() {
	for {
		conn, err := r.in.Accept()
		if err != nil {
			return
		}
		tcp, _ := conn.(*net.TCPConn)
		raw, err := tcp.SyscallConn()
		if err != nil {
			return
		}
		_ = raw.Control(func(fd uintptr) {
			own, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				r.t.Errorf("duplicate: %v", err)
				return
			}
			r.group.Serve(Incoming{FD: own, Socket: r})
		})
		conn.Close()
	}
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.address())
	if err != nil {
		r.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// descriptors counts those of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// handsOver has the rig hand over a connection that begins with a request.
func (r *rig) handsOver(request string) {
	t := r.t
	t.Helper()
	conn := r.dial()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	out := <-r.handed
	file := os.NewFile(uintptr(out.FD), "")
	rest := make([]byte, len(request)-len(out.Unread))
	if len(rest) > 0 {
		if _, err := io.ReadFull(file, rest); err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Errorf("read on: %v", err)
		}
	}
	if got := string(out.Unread) + string(rest); got != request {
		t.Errorf("handed over %q of %q", got, request)
	}
	file.Close()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the receiver has closed: %v", err)
	}
}
