package flows

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/bpf"
)

// Each end of each of 10,000 connections has one record, whose bytes are those that the
// programs exchanged, and that TCP_INFO shows to them.
func TestEveryConnectionIsRecorded(t *testing.T) {
	const connections = 10_000
	w := newWorld(t)
	r := w.attach(8 << 20)
	type bytes struct{ received, sent uint64 }
	want := make(map[[2]netip.AddrPort][]bytes, 2*connections) // the kernel uses ports again
	began := time.Now()
	for i := range connections {
		client, server := w.connect()
		question, answer := i%4000, i*7%9000
		w.send(client, server, question)
		w.send(server, client, answer)
		here, there := w.place(client), w.place(server)
		outward, inward := [2]netip.AddrPort{here, there}, [2]netip.AddrPort{there, here}
		want[outward] = append(want[outward], bytes{uint64(answer), uint64(question)})
		want[inward] = append(want[inward], bytes{uint64(question), uint64(answer)})
		if i%100 == 0 { // what these show besides is the SYN
			info, err := unix.GetsockoptTCPInfo(client, unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil || info.Bytes_received != uint64(answer) || info.Bytes_acked != uint64(question)+1 {
				t.Fatalf("TCP_INFO: %d received, %d confirmed, %v", info.Bytes_received, info.Bytes_acked, err)
			}
		}
		if i%2 == 0 {
			w.close(client, server)
		} else {
			w.close(server, client)
		}
	}
	l := w.finish(r)
	if len(l.flows) != 2*connections || l.lost != 0 {
		t.Errorf("%d ends of %d connections, and %d lost", len(l.flows), connections, l.lost)
	}
	outgoing := 0
	for _, f := range l.flows {
		end := [2]netip.AddrPort{f.Local, f.Remote}
		if len(want[end]) == 0 {
			t.Fatalf("nobody knows of %+v", f)
		}
		expected := want[end][0]
		want[end] = want[end][1:]
		if f.Received != expected.received || f.Sent != expected.sent || f.Verdict != Closed || f.Before {
			t.Fatalf("got %+v, want %+v", f, expected)
		}
		if f.Outgoing {
			outgoing++
		}
		if f.Duration <= 0 || f.Ended.Before(began.Add(-time.Second)) || time.Since(f.Ended) < -time.Second || f.MinRTT > time.Second {
			t.Fatalf("times of %+v", f)
		}
	}
	if outgoing != connections {
		t.Errorf("%d ends connected", outgoing)
	}
}

// endings are ways in which a connection ends, after 5 bytes to the server and 7 to the
// client, and what the ends tell.
var endings = []struct {
	name           string
	do             func(w *world, client, server int)
	client, server Verdict
	unread         uint64 // bytes that the server's kernel got besides
}{
	{"the client closes first", func(w *world, c, s int) { w.close(c); w.readEnd(s); w.close(s) }, Closed, Closed, 0},
	{"the server closes first", func(w *world, c, s int) { w.close(s); w.readEnd(c); w.close(c) }, Closed, Closed, 0},
	{"both shut down", func(w *world, c, s int) {
		_ = unix.Shutdown(c, unix.SHUT_WR)
		_ = unix.Shutdown(s, unix.SHUT_WR)
		w.readEnd(c)
		w.readEnd(s)
		w.close(c, s)
	}, Closed, Closed, 0},
	{"the client resets", func(w *world, c, s int) { w.reset(c); w.close(s) }, Reset, Reset, 0},
	{"the server leaves without reading", func(w *world, c, s int) { w.write(c, 1); w.confirmed(c); w.close(s); w.close(c) }, Reset, Reset, 1},
}

func TestHowConnectionsEnd(t *testing.T) {
	w := newWorld(t)
	for _, e := range endings {
		r := w.attach(0)
		client, server := w.connect()
		w.send(client, server, 5)
		w.send(server, client, 7)
		here, there := w.place(client), w.place(server)
		e.do(w, client, server)
		l := w.finish(r)
		wantClient := Flow{Local: here, Remote: there, Verdict: e.client, Outgoing: true, Received: 7, Sent: 5 + e.unread}
		wantServer := Flow{Local: there, Remote: here, Verdict: e.server, Received: 5 + e.unread, Sent: 7}
		if got := l.by(t, here); got != wantClient {
			t.Errorf("%s: the client's is\n%+v, want\n%+v", e.name, got, wantClient)
		}
		if got := l.by(t, there); got != wantServer {
			t.Errorf("%s: the server's is\n%+v, want\n%+v", e.name, got, wantServer)
		}
		if len(l.flows) != 2 {
			t.Errorf("%s: %d records", e.name, len(l.flows))
		}
	}
}

// A half-closed connection goes on in one direction, and all of it is counted.
func TestHalfClosedConnectionIsCountedToItsEnd(t *testing.T) {
	w := newWorld(t)
	r := w.attach(0)
	client, server := w.connect()
	w.write(client, 5)
	_ = unix.Shutdown(client, unix.SHUT_WR)
	w.read(server, 5)
	w.readEnd(server)
	w.send(server, client, 3000)
	here, there := w.place(client), w.place(server)
	w.close(server)
	w.readEnd(client)
	w.close(client)
	l := w.finish(r)
	if c, s := l.by(t, here), l.by(t, there); c.Received != 3000 || c.Sent != 5 || s.Received != 5 || s.Sent != 3000 || c.Verdict != Closed || s.Verdict != Closed {
		t.Errorf("client %+v\nserver %+v", c, s)
	}
}

func TestAttemptsToConnect(t *testing.T) {
	w := newWorld(t)
	closed := w.at
	w.close(w.listener)
	w.listen(0) // room for one that nobody accepts
	r := w.attach(0)

	refused := w.socket()
	if err := unix.Connect(refused, &closed); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("connect: %v", err)
	}
	w.close(refused)

	waiting := w.socket()
	if err := unix.Connect(waiting, &w.at); err != nil {
		t.Fatal(err)
	}
	silent := w.socket()
	if err := unix.SetsockoptInt(silent, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(silent, &w.at); !errors.Is(err, unix.ETIMEDOUT) {
		t.Fatalf("connect: %v", err)
	}
	w.close(silent)

	hasty := w.socket()
	if err := unix.SetNonblock(hasty, true); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(hasty, &w.at); !errors.Is(err, unix.EINPROGRESS) {
		t.Fatalf("connect: %v", err)
	}
	w.close(hasty)

	l := w.finish(r)
	var verdicts []Verdict
	for _, f := range l.flows {
		verdicts = append(verdicts, f.Verdict)
		if !f.Outgoing || f.Duration != 0 || f.Received != 0 || f.Sent != 0 {
			t.Errorf("got %+v", f)
		}
	}
	if len(verdicts) != 3 || verdicts[0] != Refused || verdicts[1] != Timeout || verdicts[2] != Aborted {
		t.Errorf("got %v", verdicts)
	}
	w.close(waiting)
}

// What was sent into nothing timed out; bytes that were not confirmed are not counted.
func TestSilenceIsATimeout(t *testing.T) {
	w := newWorld(t)
	r := w.attach(0)
	client, server := w.connect()
	w.send(client, server, 5)
	here := w.place(client)
	if err := unix.SetsockoptInt(client, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 300); err != nil {
		t.Fatal(err)
	}
	w.lower()
	w.write(client, 100)
	poll := []unix.PollFd{{Fd: int32(client), Events: unix.POLLIN}} //nolint:gosec // a descriptor
	if n, err := unix.Poll(poll, 20_000); err != nil || n != 1 {
		t.Fatalf("poll: %d, %v", n, err)
	}
	w.close(client)
	l := w.finish(r)
	if got := l.by(t, here); got.Verdict != Timeout || got.Sent != 5 || !got.Outgoing {
		t.Errorf("got %+v", got)
	}
	w.close(server)
}

// lower turns lo off, so that packets are lost.
func (w *world) lower() {
	w.Helper()
	socket := w.socket()
	defer w.close(socket)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		w.Fatal(err)
	}
	lo.SetUint16(0)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo); err != nil {
		w.Fatal(err)
	}
}

// Of a connection that an earlier Recorder saw begin, the end is told, and that its beginning
// is not known. One that nobody saw begin has no record.
func TestConnectionsFromBefore(t *testing.T) {
	w := newWorld(t)
	unseen, unseenServer := w.connect()
	first := w.attach(0)
	client, server := w.connect()
	w.send(client, server, 5)
	w.finish(first)

	second := w.attach(0)
	w.send(server, client, 7)
	here, there := w.place(client), w.place(server)
	w.close(client, server, unseen, unseenServer)
	l := w.finish(second)
	if len(l.flows) != 2 {
		t.Errorf("%d records", len(l.flows))
	}
	want := Flow{Local: there, Remote: here, Verdict: Closed, Before: true, Received: 5, Sent: 7}
	if got := l.by(t, there); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := l.by(t, here); !got.Before || got.Received != 7 {
		t.Errorf("got %+v", got)
	}
}

func TestAddressesOfBothFamilies(t *testing.T) {
	w := newWorld(t)
	r := w.attach(0)
	dual, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(dual, &unix.SockaddrInet6{}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(dual, 8); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(dual)
	if err != nil {
		t.Fatal(err)
	}
	port := at.(*unix.SockaddrInet6).Port
	loopback := unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}}
	for family, to := range map[int]unix.Sockaddr{
		unix.AF_INET:  &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}},
		unix.AF_INET6: &loopback,
	} {
		client, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Connect(client, to); err != nil {
			t.Fatal(err)
		}
		server, _, err := unix.Accept4(dual, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		w.close(client, server)
	}
	w.close(dual)
	ends := map[netip.AddrPort]int{}
	for _, f := range w.finish(r).flows {
		if f.Outgoing {
			ends[f.Remote]++
		} else {
			ends[f.Local]++
		}
	}
	four, six := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)), netip.AddrPortFrom(netip.IPv6Loopback(), uint16(port)) //nolint:gosec // a port
	if len(ends) != 2 || ends[four] != 2 || ends[six] != 2 {
		t.Errorf("got %v", ends)
	}
}

// Nothing is lost that is not counted.
func TestFullRingLosesWhatItCounts(t *testing.T) {
	const connections = 500
	w := newWorld(t)
	r := w.attach(4096)
	for range connections {
		client, server := w.connect()
		w.close(client, server)
	}
	lost, err := r.Lost()
	if err != nil {
		t.Fatal(err)
	}
	l := w.finish(r)
	if uint64(len(l.flows))+l.lost != 2*connections || l.lost != lost || l.lost == 0 || len(l.flows) == 0 {
		t.Errorf("%d records, %d lost (%d) of %d ends", len(l.flows), l.lost, lost, 2*connections)
	}
	t.Logf("%d records, %d lost", len(l.flows), l.lost)
}

// Sockets outside of the cgroup are not recorded.
func TestOnlyTheCgroupIsRecorded(t *testing.T) {
	w := newWorld(t)
	inside := w.cgroup
	w.cgroup = t.TempDir()
	if _, err := Attach(Options{Cgroup: w.cgroup}); err == nil {
		t.Error("what is no cgroup is recorded")
	}
	if _, err := Attach(Options{Cgroup: w.cgroup + "/none"}); !errors.Is(err, bpf.ErrUnavailable) {
		t.Errorf("a cgroup that is not there: %v", err)
	}
	w.cgroup = inside
	r := w.attach(0)
	if attached, err := Attached(inside); !attached || err != nil {
		t.Errorf("attached: %v, %v", attached, err)
	}
	w.finish(r)
	if attached, err := Attached(inside); attached || err != nil {
		t.Errorf("attached after the end: %v, %v", attached, err)
	}
}
