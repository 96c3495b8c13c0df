package socketlb

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf"
	"github.com/lintel-dev/lintel/bpf/bpftest"
)

// process stands for a Lintel: a Balancer that runs.
type process struct {
	*Balancer
	t     *testing.T
	end   context.CancelFunc
	ended chan error
}

func start(t *testing.T, o Options) *process {
	t.Helper()
	o.Log = quiet(t)
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{New(o), t, cancel, make(chan error, 1)}
	go func() { p.ended <- p.Run(ctx) }()
	t.Cleanup(p.stop)
	return p
}

func (p *process) stop() {
	p.end()
	if err := <-p.ended; err != nil {
		p.t.Errorf("run: %v", err)
	}
	p.ended <- nil
}

// told applies and waits until that has come into effect.
func (p *process) told(want Services) {
	p.t.Helper()
	was := p.Applied()
	p.Apply(want)
	for deadline := time.Now().Add(30 * time.Second); p.Applied() == was; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatal("what is wanted does not come into effect")
		}
	}
}

func count(m *ebpf.Map) (n int) {
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	for all := m.Iterate(); all.Next(key, value); {
		n++
	}
	return n
}

// links returns the IDs of the links and of the programs in them.
func links(t *testing.T, pins bpf.Pins) (ids []link.ID, programs []ebpf.ProgramID) {
	t.Helper()
	names, err := pins.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, linkPrefix) {
			continue
		}
		l, err := pins.Link(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		ids, programs = append(ids, info.ID), append(programs, info.Program)
		l.Close()
	}
	return ids, programs
}

func TestAnEndedProcessLeavesItsServices(t *testing.T) {
	w := newWorld(t)
	pins := bpftest.Pins(t, Feature)
	a, b := w.serve(TCP, "127.0.0.2:1001", "a"), w.serve(TCP, "127.0.0.3:1001", "b")
	service := func(address string, e netip.AddrPort) []Port {
		return []Port{{Protocol: TCP, Addresses: addresses(address), Endpoints: []netip.AddrPort{e}, Affinity: time.Hour}}
	}
	expect := func(when, to, want string) {
		t.Helper()
		if name, _, err := w.connect(tcp4(), to); name != want || (want != "" && err != nil) {
			t.Errorf("%s: %q answers at %s, want %q; %v", when, name, to, want, err)
		}
	}
	o := Options{Cgroup: w.cgroup, Pins: pins, Sizes: Sizes{Addresses: 100}}
	first := start(t, o)
	first.told(Services{"n/a": service("10.96.0.1:80", a), "n/gone": service("10.96.0.2:80", a)})
	expect("served", "10.96.0.1:80", "a")
	ids, programs := links(t, pins)
	if len(ids) != len(attachments()) {
		t.Errorf("%d links are pinned", len(ids))
	}
	first.stop()
	expect("the process has ended", "10.96.0.1:80", "a")
	expect("the process has ended", "10.96.0.2:80", "a")

	second := start(t, o)
	second.told(Services{"n/a": service("10.96.0.1:80", b)})
	expect("the next process changed it", "10.96.0.1:80", "b")
	expect("the next process removed it", "10.96.0.2:80", "")
	nextIDs, nextPrograms := links(t, pins)
	if !slices.Equal(ids, nextIDs) {
		t.Errorf("links %v became %v: in between nothing was attached", ids, nextIDs)
	}
	for i := range programs {
		if programs[i] == nextPrograms[i] {
			t.Errorf("program %d is still that of the process before", programs[i])
		}
	}
	second.stop()

	o.Sizes.Addresses = 200 // another layout
	third := start(t, o)
	third.told(Services{"n/a": service("10.96.0.1:80", a)})
	expect("maps of another size", "10.96.0.1:80", "a")
	if m, err := pins.Map(lbMapLbServices); err != nil || m.MaxEntries() != 200 {
		t.Errorf("the pinned map is %v, %v", m, err)
	} else {
		m.Close()
	}
	state, err := Active(pins)
	if err != nil {
		t.Error(err)
	}
	expectAll(t, state, "9 of 9 programs", fmt.Sprint(inode(t, w.cgroup)), "1 addresses")

	if err := pins.Remove(); err != nil {
		t.Errorf("detach: %v", err)
	}
	expect("detached, though a process runs", "10.96.0.1:80", "")
}

// The next process has tables of another layout: what connected sockets meant is not in these.
func TestConnectedSocketsOutliveALayout(t *testing.T) {
	w := newWorld(t)
	pins := bpftest.Pins(t, Feature)
	t.Cleanup(func() { _ = pins.Remove() })
	k := kinds()["UDP over IPv4"]
	want := Services{"n/a": {{Protocol: UDP, Addresses: addresses("10.96.0.1:80"), Endpoints: addresses(w.serve(UDP, "127.0.0.2:1001", "a").String())}}}
	o := Options{Cgroup: w.cgroup, Pins: pins, Sizes: Sizes{Addresses: 100, Connected: 1}}
	first := start(t, o)
	first.told(want)
	var connected []int // the first in a cell, the other one with its socket
	for range 2 {
		s := w.socket(k)
		defer unix.Close(s)
		if _, peer, err := w.connectSocket(s, k, "10.96.0.1:80"); peer != "10.96.0.1:80" || err != nil {
			t.Fatalf("the peer is %s, %v", peer, err)
		}
		connected = append(connected, s)
	}
	first.stop()
	o.Sizes.Addresses = 200
	second := start(t, o)
	second.told(want)
	for i, s := range connected {
		if peer, err := unix.Getpeername(s); err != nil || addrPort(peer).String() != "10.96.0.1:80" {
			t.Errorf("the peer of socket %d is now %v, %v", i, addrPort(peer), err)
		}
	}
}

// The next process starts while the one before still runs, and knows better.
func TestOneProcessAtATime(t *testing.T) {
	w := newWorld(t)
	pins := bpftest.Pins(t, Feature)
	t.Cleanup(func() { _ = pins.Remove() })
	a, b := w.serve(TCP, "127.0.0.2:1001", "a"), w.serve(TCP, "127.0.0.3:1001", "b")
	service := func(e netip.AddrPort) Services {
		return Services{"n/a": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80"), Endpoints: []netip.AddrPort{e}}}}
	}
	o := Options{Cgroup: w.cgroup, Pins: pins}
	first := start(t, o)
	first.told(service(a))
	second := start(t, o)
	second.Apply(service(b))
	first.told(service(a))
	if name, _, err := w.connect(tcp4(), "10.96.0.1:80"); name != "a" || second.Applied() != 0 {
		t.Errorf("while the first process runs: %q, %v", name, err)
	}
	first.stop()
	second.told(service(b))
	if name, _, err := w.connect(tcp4(), "10.96.0.1:80"); name != "b" {
		t.Errorf("when it has ended: %q, %v", name, err)
	}
}

func TestUpdatesThatEndedInTheMiddleAreTidiedUp(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	e := w.serve(TCP, "127.0.0.2:1001", "a")
	want := Services{"n/a": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80"), Endpoints: []netip.AddrPort{e}, Affinity: time.Hour}}}
	w.apply(table, want)
	if _, err := table.hold(backing{addresses("127.0.0.9:1", "127.0.0.9:2"), 60}, map[*netip.AddrPort]*list{}); err != nil {
		t.Fatal(err)
	}
	next, err := newTable(w.maps)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(w.maps[lbMapLbEndpoints]) + count(w.maps[lbMapLbPlaces]); n != 2 {
		t.Errorf("maps hold %d entries, want the endpoint and its place", n)
	}
	if next.nextList <= table.nextList-1 {
		t.Errorf("list %d is used twice", next.nextList)
	}
	w.apply(next, want)
	if name, _, err := w.connect(tcp4(), "10.96.0.1:80"); name != "a" {
		t.Errorf("%q, %v", name, err)
	}
	w.apply(next, Services{})
	if n := count(w.maps[lbMapLbServices]) + count(w.maps[lbMapLbEndpoints]) + count(w.maps[lbMapLbPlaces]); n != 0 {
		t.Errorf("maps hold %d entries that nobody wants", n)
	}
}

func TestWithoutPinsNothingOutlivesTheProcess(t *testing.T) {
	w := newWorld(t)
	e := w.serve(TCP, "127.0.0.2:1001", "a")
	p := start(t, Options{Cgroup: w.cgroup})
	p.told(Services{"n/a": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80"), Endpoints: []netip.AddrPort{e}}}})
	if name, _, err := w.connect(tcp4(), "10.96.0.1:80"); name != "a" {
		t.Errorf("while it runs: %q, %v", name, err)
	}
	if attached, err := Attached(w.cgroup); !attached || err != nil {
		t.Errorf("while it runs: attached is %v, %v", attached, err)
	}
	p.stop()
	if attached, err := Attached(w.cgroup); attached || err != nil {
		t.Errorf("afterwards: attached is %v, %v", attached, err)
	}
	if name, _, err := w.connect(tcp4(), "10.96.0.1:80"); err == nil {
		t.Errorf("afterwards %q answers", name)
	}
}

// Two capabilities are all that is needed to load and attach the programs.
func TestTwoCapabilitiesSuffice(t *testing.T) {
	w := newWorld(t)
	err := bpftest.WithCapabilities(func() error {
		p, err := load(bpf.Pins{}, Sizes{}.orSmall())
		if err != nil {
			return err
		}
		defer p.close()
		return p.attach(w.cgroup)
	}, bpf.CapBPF, bpf.CapNetAdmin)
	if err != nil {
		t.Errorf("%+v", err)
	}
}

func TestWithoutACgroupItIsUnavailable(t *testing.T) {
	bpftest.Require(t, Needs().Probe())
	bpftest.NothingLeft(t, "lb_")
	b := New(Options{Cgroup: t.TempDir() + "/none", Log: quiet(t)})
	b.Apply(Services{"n/a": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80")}}})
	if err := b.Run(t.Context()); !errors.Is(err, bpf.ErrUnavailable) || !strings.Contains(err.Error(), "cgroup") {
		t.Errorf("run: %v", err)
	}
}
