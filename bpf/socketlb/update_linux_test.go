package socketlb

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// While one goroutine changes the endpoints as fast as it can, another one connects as
// fast as it can: no connection fails, and none goes to an endpoint that was removed
// before the connection began.
func TestUpdatesUnderLoad(t *testing.T) {
	for _, affinity := range []time.Duration{0, time.Hour} {
		t.Run(fmt.Sprint("affinity ", affinity), func(t *testing.T) { updatesUnderLoad(t, affinity) })
	}
}

func updatesUnderLoad(t *testing.T, affinity time.Duration) {
	w := newWorld(t)
	table := w.load(Sizes{})
	const servers = 6
	var all []netip.AddrPort
	for i := range servers {
		all = append(all, w.serve(TCP, fmt.Sprintf("127.0.0.%d:1001", 2+i), fmt.Sprint(i)))
	}
	// The n-th list: between one and five endpoints that change by more than one.
	members := func(n uint64) (m []int) {
		for i := range 1 + n*7%5 {
			m = append(m, int((n*5+i)%servers))
		}
		return m
	}
	service := func(n uint64) Services {
		p := Port{Protocol: TCP, Addresses: addresses("10.96.0.1:80"), Affinity: affinity}
		for _, m := range members(n) {
			p.Endpoints = append(p.Endpoints, all[m])
		}
		return Services{"a/b": {p}}
	}
	var begun, done atomic.Uint64
	w.apply(table, service(0))
	ended, stop := make(chan error, 1), make(chan struct{})
	go func() {
		var err error
		for n := uint64(1); err == nil; n++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			begun.Store(n)
			err = table.apply(service(n))
			done.Store(n)
		}
		ended <- err
	}()
	connections := 0
	enough := func() bool { return connections >= 3000 && done.Load() >= 300 }
	for start := time.Now(); !enough() && time.Since(start) < 30*time.Second; connections++ {
		first := done.Load()
		name, _, err := w.connect(tcp4(), "10.96.0.1:80")
		last := begun.Load()
		if err != nil {
			t.Errorf("connection %d: %v", connections, err)
			break
		}
		allowed := false
		for n := first; n <= last && !allowed; n++ {
			allowed = slices.ContainsFunc(members(n), func(m int) bool { return fmt.Sprint(m) == name })
		}
		if !allowed {
			t.Errorf("connection %d went to %s, which was removed before", connections, name)
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Errorf("update: %v", err)
	}
	if !t.Failed() && !enough() {
		t.Errorf("%d connections and %d updates in 30 s are no load", connections, done.Load())
	}
}

func TestManyServicesComeAndGo(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	endpoint := w.serve(TCP, "127.0.0.2:1001", "a")
	want := Services{}
	for i := range 2000 {
		want[fmt.Sprint("a/", i)] = []Port{{Protocol: TCP, Addresses: addresses(fmt.Sprintf("10.97.%d.%d:80", i/250, i%250)), Endpoints: []netip.AddrPort{endpoint}}}
	}
	w.apply(table, want)
	for _, i := range []int{0, 999, 1999} {
		if name, _, err := w.connect(tcp4(), fmt.Sprintf("10.97.%d.%d:80", i/250, i%250)); name != "a" {
			t.Errorf("Service %d: %q, %v", i, name, err)
		}
	}
	w.apply(table, Services{})
	for _, name := range []string{lbMapLbServices, lbMapLbEndpoints, lbMapLbPlaces} {
		if n := count(w.maps[name]); n != 0 {
			t.Errorf("%s has %d entries that nobody wants", name, n)
		}
	}
}

// Two Services want one address: it is the first one's, until that goes.
func TestAnAddressIsOneServices(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	port := func(name, at string) []Port {
		return []Port{{Protocol: TCP, Addresses: addresses("192.0.2.1:80"), Endpoints: []netip.AddrPort{w.serve(TCP, at, name)}}}
	}
	a, b := port("a", "127.0.0.2:1001"), port("b", "127.0.0.3:1001")
	for _, step := range []struct {
		want Services
		name string
	}{{Services{"n/b": b}, "b"}, {Services{"n/a": a, "n/b": b}, "a"}, {Services{"n/b": b}, "b"}, {Services{"n/a": a, "n/b": b}, "a"}, {Services{"n/a": a}, "a"}} {
		w.apply(table, step.want)
		if name, _, err := w.connect(tcp4(), "192.0.2.1:80"); name != step.name {
			t.Errorf("with %d Services %q answers, want %q; %v", len(step.want), name, step.name, err)
		}
	}
}

func TestFullMapsNameWhatIsLeftOut(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{Addresses: 2, Endpoints: 8})
	e := w.serve(TCP, "127.0.0.2:1001", "a")
	service := func(at string) []Port {
		return []Port{{Protocol: TCP, Addresses: addresses(at), Endpoints: []netip.AddrPort{e}}}
	}
	first := service("10.96.0.1:80")
	err := table.apply(Services{"n/a": first, "n/b": service("10.96.0.2:80"), "n/c": service("10.96.0.3:80")})
	if err == nil {
		t.Fatal("three addresses fit into room for two")
	}
	expectAll(t, err.Error(), "addresses of Services", "room for 2", "n/c")
	for _, to := range []string{"10.96.0.1:80", "10.96.0.2:80"} {
		if name, _, err := w.connect(tcp4(), to); name != "a" {
			t.Errorf("%s: %q, %v", to, name, err)
		}
	}
	c := service("10.96.0.3:80")
	if err := table.apply(Services{"n/a": first, "n/c": c}); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if name, _, err := w.connect(tcp4(), "10.96.0.3:80"); name != "a" {
		t.Errorf("when there was room: %q, %v", name, err)
	}
}

// Without room for the old list beside the new one an update is done all the same; one
// that does not fit leaves no endpoint behind that has gone.
func TestFullMapOfEndpoints(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{Endpoints: 4})
	var all []netip.AddrPort
	for i := range 5 {
		all = append(all, w.serve(TCP, fmt.Sprintf("127.0.0.%d:1001", 2+i), fmt.Sprint(i)))
	}
	service := func(endpoints ...netip.AddrPort) Services {
		return Services{"n/a": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80"), Endpoints: endpoints}}}
	}
	w.apply(table, service(all[0], all[1], all[2]))
	w.apply(table, service(all[3], all[4]))
	if name, _, err := w.connect(tcp4(), "10.96.0.1:80"); name != "3" && name != "4" {
		t.Errorf("after the update: %q, %v", name, err)
	}
	err := table.apply(service(all...))
	if err == nil {
		t.Fatal("five endpoints fit into room for four")
	}
	expectAll(t, err.Error(), "endpoints", "room for 4", "n/a")
	if name, _, err := w.connect(tcp4(), "10.96.0.1:80"); err == nil {
		t.Errorf("%q still answers for a Service that is left out", name)
	}
	w.apply(table, service(all[:2]...))
	if name, _, err := w.connect(tcp4(), "10.96.0.1:80"); name != "0" && name != "1" {
		t.Errorf("with fewer: %q, %v", name, err)
	}
}
