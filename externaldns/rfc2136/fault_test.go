package rfc2136_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/conformance/knot"
	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/externaldns/rfc2136"
)

// fault is what becomes of a message on its way.
type fault int

const (
	pass fault = iota
	cut        // the connection ends, and the server never sees it
	lose       // the connection ends, though the server has done it
	fail       // the answer is SERVFAIL, and the server never sees it
)

// wire is between Lintel and a server. It does no harm but to updates.
type wire struct {
	*testing.T
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	updates int
	faults  map[int]fault // by the number of the update, from 1 on
}

func newWire(t *testing.T, server string) *wire {
	t.Helper()
	w := &wire{T: t, server: server}
	var err error
	if w.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	w.running.Go(func() {
		for {
			conn, err := w.listener.Accept()
			if err != nil {
				return
			}
			w.running.Go(func() { w.relay(conn) })
		}
	})
	t.Cleanup(func() { w.listener.Close(); w.running.Wait() })
	return w
}

// set forgets updates, and says what becomes of the next ones.
func (w *wire) set(faults map[int]fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.updates, w.faults = 0, faults
}

func (w *wire) relay(down net.Conn) {
	defer down.Close()
	up, err := net.Dial("tcp", w.server)
	if err != nil {
		return
	}
	defer up.Close()
	from, to := &dns.Conn{Conn: down}, &dns.Conn{Conn: up}
	answering := make(chan struct{})
	var answers sync.WaitGroup
	defer answers.Wait()
	defer up.Close()
	lost := false
	answers.Go(func() {
		<-answering
		for {
			answer, err := to.ReadMsgHeader(nil)
			if err != nil || lost {
				down.Close()
				return
			}
			if _, err := from.Write(answer); err != nil {
				return
			}
		}
	})
	begin := sync.OnceFunc(func() { close(answering) })
	defer begin()
	for {
		query, err := from.ReadMsgHeader(nil)
		if err != nil {
			return
		}
		switch w.next(query) {
		case cut:
			return
		case fail:
			message := new(dns.Msg)
			if message.Unpack(query) != nil {
				return
			}
			_ = from.WriteMsg(new(dns.Msg).SetRcode(message, dns.RcodeServerFailure))
			continue
		case lose:
			lost = true
		}
		begin()
		if _, err := to.Write(query); err != nil {
			return
		}
	}
}

func (w *wire) next(query []byte) fault {
	message := new(dns.Msg)
	if message.Unpack(query) != nil || message.Opcode != dns.OpcodeUpdate {
		return pass
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.updates++
	return w.faults[w.updates]
}

func TestAfterEachFaultItConverges(t *testing.T) {
	for _, c := range []struct {
		what  string
		fault fault
		says  string
	}{
		{"the connection ends before an update", cut, "send update"},
		{"the connection ends after an update", lose, "send update"},
		{"an error of the server", fail, "the server refuses updates (SERVFAIL)"},
	} {
		for _, lookUp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, look-ups %v", c.what, lookUp), func(t *testing.T) {
				server := knot.ForTest(t, knot.Options{Zones: []string{"example.test"}})
				w := newWire(t, server.Address)
				if err := server.Update(t.Context(), "example.test", "hand.example.test. 60 IN A 192.0.2.50"); err != nil {
					t.Fatal(err)
				}
				p, err := rfc2136.New(rfc2136.Options{Server: w.listener.Addr().String(), Zones: []string{"example.test"}, LookUp: lookUp, Key: rfc2136.Key{
					Name: server.Key.Name, Secret: func() (string, error) { return server.Key.Secret, nil },
				}})
				if err != nil {
					t.Fatal(err)
				}
				s := &setup{T: t, server: server, dns: externaldns.New(externaldns.Options{Provider: p, Rules: rules(t)})}
				var want []externaldns.Record
				for i := range 150 { // two messages
					want = append(want, a(fmt.Sprintf("r%03d.example.test", i), "192.0.2.1"))
				}
				w.set(map[int]fault{2: c.fault})
				round := s.dns.Reconcile(t.Context(), want)
				if round.Err == nil || !strings.Contains(round.Err.Error(), c.says) {
					t.Errorf("the round says: %v", round.Err)
				}
				if state := s.state(want[149]); state.Stage != externaldns.Failed || !strings.Contains(state.Reason, c.says) {
					t.Errorf("the last record: %+v", state)
				}
				w.set(nil)
				s.reconcile(want...)
				if w.updates != map[fault]int{cut: 1, fail: 1}[c.fault] {
					t.Errorf("%d updates to go on", w.updates)
				}
				records, err := server.Transfer("example.test")
				if err != nil || len(records) != 2+1+300 {
					t.Errorf("%d records, want 150 with their marks, one by hand and the zone's own: %v", len(records), err)
				}
			})
		}
	}
}

func TestAServerThatIsAwayIsTriedAgain(t *testing.T) {
	server := knot.ForTest(t, knot.Options{Zones: []string{"example.test"}})
	address := server.Address
	for _, lookUp := range []bool{false, true} {
		server.Address = "127.0.0.1:1" // where nobody listens
		s := &setup{T: t, server: server, lookUp: lookUp}
		s.restart()
		want := a(fmt.Sprintf("www-%v.example.test", lookUp), "192.0.2.1")
		if round := s.dns.Reconcile(t.Context(), []externaldns.Record{want}); round.Err == nil {
			t.Error("no error")
		}
		if state := s.state(want); state.Stage != externaldns.Failed || !strings.Contains(state.Reason, "connection refused") {
			t.Errorf("%+v", state)
		}
		server.Address = address
		s.restart()
		s.reconcile(want)
	}
}
