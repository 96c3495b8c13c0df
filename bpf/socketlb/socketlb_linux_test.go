package socketlb

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestServicesAreReachedAtTheirAddresses(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	for _, p := range []Protocol{TCP, UDP} {
		w.serve(p, "127.0.0.2:1001", "four")
		w.serve(p, "[::1]:1001", "six")
	}
	want := Services{}
	for name, p := range map[string]Protocol{"a/tcp": TCP, "a/udp": UDP} {
		want[name] = []Port{{
			Protocol:  p,
			Addresses: addresses("10.96.0.1:80", "[fd00::1]:80", "192.0.2.7:30080"),
			Endpoints: addresses("[::ffff:127.0.0.2]:1001", "[::1]:1001"),
		}}
	}
	w.apply(table, want)
	tests := []struct{ kind, to, name, peer string }{
		{"TCP over IPv4", "10.96.0.1:80", "four", "10.96.0.1:80"},
		{"TCP over IPv4", "192.0.2.7:30080", "four", "192.0.2.7:30080"},
		{"TCP over IPv6", "[fd00::1]:80", "six", "[fd00::1]:80"},
		{"TCP over IPv6", "[::ffff:10.96.0.1]:80", "four", "10.96.0.1:80"},
		{"UDP over IPv4", "10.96.0.1:80", "four", "10.96.0.1:80"},
		{"UDP over IPv6", "[fd00::1]:80", "six", "[fd00::1]:80"},
		{"UDP over IPv6", "[::ffff:10.96.0.1]:80", "four", "10.96.0.1:80"},
		{"TCP over IPv4", "127.0.0.2:1001", "four", "127.0.0.2:1001"}, // as before
	}
	for _, test := range tests {
		k := kinds()[test.kind]
		if name, peer, err := w.connect(k, test.to); err != nil || name != test.name || peer != test.peer {
			t.Errorf("%s to %s: %q answers, peer is %q, %v", test.kind, test.to, name, peer, err)
		}
		if k.protocol != UDP {
			continue
		}
		s := w.socket(k)
		for range 2 { // the second time the origin is known
			if name, from, err := w.ask(s, k, test.to); err != nil || name != test.name || from != test.peer {
				t.Errorf("%s, not connected, to %s: %q answers from %q, %v", test.kind, test.to, name, from, err)
			}
		}
		unix.Close(s)
	}
}

func TestGetpeernameShowsTheServiceWhileConnected(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	for _, at := range []string{"127.0.0.2:1001", "[::1]:1001"} {
		a := netip.MustParseAddrPort(at)
		k := kind{unix.AF_INET6, unix.SOCK_STREAM, TCP}
		if a.Addr().Is4() {
			k.family = unix.AF_INET
		}
		listener := w.socket(k)
		defer unix.Close(listener)
		if err := errors.Join(unix.Bind(listener, k.sockaddr(a)), unix.Listen(listener, 8)); err != nil {
			t.Fatal(err)
		}
	}
	w.apply(table, Services{"a/b": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80", "[fd00::1]:80"), Endpoints: addresses("127.0.0.2:1001", "[::1]:1001")}}})
	tests := map[string]struct {
		kind kind
		peer string
	}{
		"10.96.0.1:80":          {tcp4(), "10.96.0.1:80"},
		"[fd00::1]:80":          {kinds()["TCP over IPv6"], "[fd00::1]:80"},
		"[::ffff:10.96.0.1]:80": {kinds()["TCP over IPv6"], "10.96.0.1:80"},
	}
	for to, test := range tests {
		s := w.socket(test.kind)
		defer unix.Close(s)
		if err := unix.Connect(s, test.kind.sockaddr(netip.MustParseAddrPort(to))); err != nil {
			t.Errorf("connect to %s: %v", to, err)
			continue
		}
		if peer, err := unix.Getpeername(s); err != nil || addrPort(peer).String() != test.peer {
			t.Errorf("the peer of a socket connected to %s is %v, %v", to, addrPort(peer), err)
		}
	}
}

// There is a cell for one connected socket: the others are remembered all the same, and the
// next one gets it when the first one is closed.
func TestSocketsThatShareACellAreRemembered(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{Connected: 1})
	endpoint := w.serve(UDP, "127.0.0.2:1001", "a")
	w.apply(table, Services{
		"a/b": {{Protocol: UDP, Addresses: addresses("10.96.0.1:80"), Endpoints: []netip.AddrPort{endpoint}}},
		"a/c": {{Protocol: UDP, Addresses: addresses("10.96.0.2:80"), Endpoints: []netip.AddrPort{endpoint}}},
	})
	k := kinds()["UDP over IPv4"]
	connect := func(s int, to string) {
		t.Helper()
		if name, peer, err := w.connectSocket(s, k, to); name != "a" || peer != to || err != nil {
			t.Errorf("connected to %s: %q answers, the peer is %s, %v", to, name, peer, err)
		}
	}
	claims := func() uint32 {
		t.Helper()
		var cell lbCell
		if err := w.maps[lbMapLbCells].Lookup(uint32(0), &cell); err != nil {
			t.Fatal(err)
		}
		return cell.Claims
	}
	first, second, third := w.socket(k), w.socket(k), w.socket(k)
	connect(first, "10.96.0.1:80")
	connect(second, "10.96.0.2:80")
	connect(first, "10.96.0.2:80") // again, to another Service
	connect(second, "10.96.0.1:80")
	if peer, err := unix.Getpeername(first); err != nil || addrPort(peer).String() != "10.96.0.2:80" {
		t.Errorf("the peer of the first socket is %v, %v", addrPort(peer), err)
	}
	if n := claims(); n != 1 {
		t.Errorf("%d claims of a socket that connected twice, and one that came later", n)
	}
	unix.Close(second)
	if n := claims(); n != 1 {
		t.Errorf("%d claims after a socket was closed that had not got the cell", n)
	}
	unix.Close(first)
	if n := claims(); n != 0 {
		t.Errorf("%d claims after all sockets were closed", n)
	}
	connect(third, "10.96.0.1:80")
	if n := claims(); n != 1 {
		t.Errorf("%d claims of the next socket", n)
	}
	unix.Close(third)
}

func TestSocketsOutsideOfTheCgroupAreUntouched(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	endpoint := w.serve(TCP, "127.0.0.2:1001", "a")
	w.apply(table, Services{"a/b": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80"), Endpoints: []netip.AddrPort{endpoint}}}})
	if _, _, err := w.connectSocket(w.outside, tcp4(), "10.96.0.1:80"); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("connect: %v", err)
	}
	if name, _, err := w.connect(tcp4(), "10.96.0.1:80"); name != "a" {
		t.Errorf("inside: %q, %v", name, err)
	}
}

func TestServicesWithoutEndpointsRefuse(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	v6 := w.serve(TCP, "[::1]:1001", "six")
	w.apply(table, Services{
		"a/none": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80")}, {Protocol: UDP, Addresses: addresses("10.96.0.1:80")}},
		"a/six":  {{Protocol: TCP, Addresses: addresses("10.96.0.2:80"), Endpoints: []netip.AddrPort{v6}}},
	})
	refused := func(err error) bool { return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EPERM) }
	for _, to := range []string{"10.96.0.1:80", "10.96.0.2:80"} {
		if name, _, err := w.connect(tcp4(), to); !refused(err) {
			t.Errorf("connect to %s: %q, %v", to, name, err)
		}
	}
	k := kinds()["UDP over IPv4"]
	s := w.socket(k)
	defer unix.Close(s)
	if name, _, err := w.ask(s, k, "10.96.0.1:80"); !refused(err) {
		t.Errorf("send: %q, %v", name, err)
	}
	// Of a port that is no Service's the network decides.
	if name, _, err := w.connect(tcp4(), "10.96.0.1:81"); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("another port: %q, %v", name, err)
	}
}

func TestEndpointsShareConnections(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	var endpoints []netip.AddrPort
	for _, name := range []string{"a", "b", "c", "d"} {
		endpoints = append(endpoints, w.serve(TCP, "127.0.0."+string('2'+name[0]-'a')+":1001", name))
	}
	w.apply(table, Services{"a/b": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80"), Endpoints: endpoints}}})
	const connections = 2000
	got := make(map[string]int)
	for range connections {
		name, _, err := w.connect(tcp4(), "10.96.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		got[name]++
	}
	for name, n := range got {
		if n < connections/len(endpoints)*3/4 {
			t.Errorf("%s got %d of %d", name, n, connections)
		}
	}
	if len(got) != len(endpoints) {
		t.Errorf("got %v", got)
	}
}

// A socket that is not connected keeps its endpoint, so that what belongs together stays
// together; others have others.
func TestDatagramsOfASocketGoToOneEndpoint(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	endpoints := []netip.AddrPort{w.serve(UDP, "127.0.0.2:1001", "a"), w.serve(UDP, "127.0.0.3:1001", "b")}
	w.apply(table, Services{"a/b": {{Protocol: UDP, Addresses: addresses("10.96.0.1:53"), Endpoints: endpoints}}})
	k, got := kinds()["UDP over IPv4"], make(map[string]int)
	for range 64 {
		s := w.socket(k)
		first, _, err := w.ask(s, k, "10.96.0.1:53")
		if err != nil {
			t.Fatal(err)
		}
		got[first]++
		for range 4 {
			if name, from, err := w.ask(s, k, "10.96.0.1:53"); name != first || from != "10.96.0.1:53" {
				t.Errorf("%q answers from %q after %q, %v", name, from, first, err)
			}
		}
		unix.Close(s)
	}
	if len(got) != 2 {
		t.Errorf("64 sockets have got %v", got)
	}
}

func TestClientsStayWithTheirEndpoint(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	byName := map[string]netip.AddrPort{
		"a": w.serve(TCP, "127.0.0.2:1001", "a"), "b": w.serve(TCP, "127.0.0.3:1001", "b"), "c": w.serve(TCP, "127.0.0.4:1001", "c"),
	}
	service := func(names ...string) Services {
		p := Port{Protocol: TCP, Addresses: addresses("10.96.0.1:80"), Affinity: time.Hour}
		for _, n := range names {
			p.Endpoints = append(p.Endpoints, byName[n])
		}
		return Services{"a/b": {p}}
	}
	connect := func() string {
		t.Helper()
		name, _, err := w.connect(tcp4(), "10.96.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	w.apply(table, service("a", "b", "c"))
	first := connect()
	stays := func(why string) {
		t.Helper()
		for range 20 {
			if name := connect(); name != first {
				t.Fatalf("%s: the client went from %s to %s", why, first, name)
			}
		}
	}
	stays("the same list")
	others := map[string][]string{"a": {"b", "c"}, "b": {"a", "c"}, "c": {"a", "b"}}[first]
	w.apply(table, service(first, others[1])) // where the endpoint is in the list may have changed
	stays("another endpoint went away")
	w.apply(table, service("a", "b", "c"))
	stays("another endpoint came back")
	was := first
	w.apply(table, service(others...))
	if first = connect(); first == was {
		t.Errorf("the client stays with %s, which has gone", was)
	}
	stays("with the next one")
}

func TestClientsMayLeaveAfterTheTimeout(t *testing.T) {
	w := newWorld(t)
	table := w.load(Sizes{})
	endpoints := []netip.AddrPort{w.serve(TCP, "127.0.0.2:1001", "a"), w.serve(TCP, "127.0.0.3:1001", "b")}
	w.apply(table, Services{"a/b": {{Protocol: TCP, Addresses: addresses("10.96.0.1:80"), Endpoints: endpoints, Affinity: time.Hour}}})
	affinity := w.maps[lbMapLbAffinity]
	got := make(map[string]bool)
	for range 64 {
		name, _, err := w.connect(tcp4(), "10.96.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		got[name] = true
		// The client was here two hours ago.
		var client lbClientKey
		var stay lbStay
		all := affinity.Iterate()
		if !all.Next(&client, &stay) {
			t.Fatal("no client is known")
		}
		stay.Used -= uint64(2 * time.Hour)
		if err := affinity.Update(&client, &stay, ebpf.UpdateExist); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 2 {
		t.Errorf("after the timeout a client still goes to %v", got)
	}
}
