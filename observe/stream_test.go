package observe

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// exchangeNumber is an exchange that says which it is.
func exchangeNumber(n int) *Exchange {
	return &Exchange{
		Listener: "Gateway default/web/http", Route: "HTTPRoute default/shop", Backend: "default/shop:80",
		Client: netip.MustParseAddr("192.0.2.9"), Protocol: "HTTP/1.1", Scheme: "https", Method: "GET",
		Host: "shop.example.com", Path: "/" + strconv.Itoa(n), UserAgent: "curl/8", RequestID: "r",
		Status: 200, BytesOut: int64(n), Start: time.Unix(1, 0), Duration: time.Second,
		Upstream: netip.MustParseAddrPort("10.0.0.1:8080"), Attempts: 1,
	}
}

func follow(t *testing.T, s *Stream) *Follower {
	t.Helper()
	f, err := s.Follow()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// readAll returns the paths of all that there is now, and how many are said to be lost.
func readAll(f *Follower) (paths []string, lost uint64) {
	for r, ok := f.Next(); ok; r, ok = f.Next() {
		if r.Kind == KindLost {
			lost += r.Lost
			continue
		}
		paths = append(paths, r.Path)
	}
	return paths, lost
}

func TestStreamTellsOfExchanges(t *testing.T) {
	s := NewStream(4)
	f := follow(t, s)
	path := []byte("/before")
	e := exchangeNumber(0)
	e.Path = unsafeString(path)
	s.ObserveExchange(e)
	copy(path, "/after!") // the connection uses its buffer again
	r, ok := f.Next()
	want := Record{
		Kind: KindL7, Time: time.Unix(2, 0), Verdict: VerdictForwarded,
		Source:      Peer{Address: netip.MustParseAddr("192.0.2.9")},
		Destination: Peer{Address: netip.MustParseAddr("10.0.0.1"), Port: 8080},
		Protocol:    "HTTP/1.1", Seconds: 1, Method: "GET", Scheme: "https", Host: "shop.example.com", Path: "/before",
		Status: 200, UserAgent: "curl/8", RequestID: "r",
		Listener: "Gateway default/web/http", Route: "HTTPRoute default/shop", Backend: "default/shop:80", Attempts: 1,
	}
	if !ok || r != want {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	if r, ok := f.Next(); ok {
		t.Errorf("there is another: %+v", r)
	}
}

// Whoever comes later gets what is kept, and no word of what went by before.
func TestStreamKeepsTheNewest(t *testing.T) {
	s := NewStream(4)
	for n := range 11 {
		s.ObserveExchange(exchangeNumber(n))
	}
	f := follow(t, s)
	if f.Backlog() != 4 {
		t.Errorf("backlog %d", f.Backlog())
	}
	paths, lost := readAll(f)
	if len(paths) != 4 || paths[0] != "/7" || paths[3] != "/10" || lost != 0 {
		t.Errorf("got %v, %d lost", paths, lost)
	}
}

// A follower that reads nothing for a while is told how much it missed, exactly; others
// miss nothing.
func TestStreamCountsWhatASlowFollowerLoses(t *testing.T) {
	s := NewStream(8)
	slow, quick := follow(t, s), follow(t, s)
	seen := 0
	for n := range 100 {
		s.ObserveExchange(exchangeNumber(n))
		paths, lost := readAll(quick)
		seen += len(paths)
		if lost != 0 {
			t.Fatalf("the quick one lost %d", lost)
		}
	}
	if first, _ := slow.Next(); first.Kind != KindLost || first.Lost != 92 {
		t.Errorf("first came %+v, want the word of 92 that are lost", first)
	}
	if paths, lost := readAll(slow); len(paths) != 8 || paths[0] != "/92" || lost != 0 || seen != 100 {
		t.Errorf("then %v, %d lost; the quick one saw %d", paths, lost, seen)
	}
}

// Nothing is told twice or left out without being counted, whatever goroutines do.
func TestStreamOfManyWriters(t *testing.T) {
	const writers, each = 4, 2000
	s := NewStream(64)
	f := follow(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var told sync.WaitGroup
	for w := range writers {
		told.Go(func() {
			for n := range each {
				s.ObserveExchange(exchangeNumber(w*each + n))
			}
		})
	}
	go func() { told.Wait(); cancel() }()
	seen, lost := map[string]bool{}, uint64(0)
	read := func() {
		paths, more := readAll(f)
		lost += more
		for _, p := range paths {
			if seen[p] {
				t.Errorf("%s came twice", p)
			}
			seen[p] = true
		}
	}
	for f.Wait(ctx) == nil {
		read()
	}
	read()
	if uint64(len(seen))+lost != writers*each {
		t.Errorf("%d seen and %d lost of %d", len(seen), lost, writers*each)
	}
}

func TestFollowerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStream(4)
		f := follow(t, s)
		done := make(chan string)
		go func() {
			_ = f.Wait(t.Context())
			r, _ := f.Next()
			done <- r.Path
		}()
		synctest.Wait()
		s.ObserveExchange(exchangeNumber(5))
		if got := <-done; got != "/5" {
			t.Errorf("got %q", got)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.Wait(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestFollowersAreBounded(t *testing.T) {
	s := NewStream(1)
	first := follow(t, s)
	for range maxFollowers - 1 {
		follow(t, s)
	}
	if _, err := s.Follow(); !errors.Is(err, ErrTooManyFollowers) {
		t.Errorf("got %v", err)
	}
	first.Close()
	follow(t, s)
}

// What a client can make long does not take the memory of others.
func TestStreamKeepsNoEndlessString(t *testing.T) {
	s := NewStream(1)
	f := follow(t, s)
	e := exchangeNumber(0)
	e.Path = string(make([]byte, 1<<20))
	s.ObserveExchange(e)
	if r, _ := f.Next(); len(r.Path) != maxEntryString || r.Route != "HTTPRoute default/shop" {
		t.Errorf("%d bytes of path are kept, the Route is %q", len(r.Path), r.Route)
	}
}

func TestStreamTellsOfFlowsAndLosses(t *testing.T) {
	s := NewStream(4)
	f := follow(t, s)
	local, remote := netip.MustParseAddrPort("10.0.0.1:8080"), netip.MustParseAddrPort("10.0.0.2:40000")
	flow := Flow{
		Local: local, Remote: remote, Verdict: VerdictReset, Received: 5, Sent: 7, RTT: time.Millisecond,
		MinRTT: 500 * time.Microsecond, Retransmits: 3, Duration: 2 * time.Second, Ended: time.Unix(9, 0),
	}
	s.ObserveFlow(&flow)
	in, _ := f.Next()
	flow.Outgoing = true
	s.ObserveFlow(&flow)
	out, _ := f.Next()
	s.ObserveLoss(12, time.Unix(10, 0))
	loss, _ := f.Next()
	want := Record{
		Kind: KindL4, Time: time.Unix(9, 0), Verdict: VerdictReset, Protocol: "tcp", Direction: DirectionIn,
		Source: peer(remote), Destination: peer(local), BytesIn: 5, BytesOut: 7, Seconds: 2,
		RTTSeconds: .001, MinRTTSeconds: .0005, Retransmits: 3,
	}
	if in != want {
		t.Errorf("got  %+v\nwant %+v", in, want)
	}
	want.Direction, want.Source, want.Destination = DirectionOut, want.Destination, want.Source
	if out != want {
		t.Errorf("got  %+v\nwant %+v", out, want)
	}
	if loss.Kind != KindLost || loss.Lost != 12 || loss.Cause != causeFullRing {
		t.Errorf("got %+v", loss)
	}
}

func TestVerdicts(t *testing.T) {
	upstream := netip.MustParseAddrPort("10.0.0.1:80")
	for want, e := range map[Verdict]Exchange{
		VerdictForwarded: {Status: 404, Upstream: upstream},
		VerdictAnswered:  {Status: 301},
		VerdictDenied:    {Status: 403, Cause: "denied"},
		VerdictFailed:    {Status: 502, Upstream: upstream, Cause: "connect refused"},
		VerdictAborted:   {Upstream: upstream, Cause: "client gone"},
	} {
		if got := e.verdict(); got != want {
			t.Errorf("%+v is %s, want %s", e, got, want)
		}
	}
	if e := (Exchange{Protocol: "tcp", Upstream: upstream}); e.verdict() != VerdictForwarded {
		t.Errorf("a stream without a status is %s", e.verdict())
	}
}

// BenchmarkStream measures what telling of an exchange costs its goroutine.
func BenchmarkStream(b *testing.B) {
	e := exchangeNumber(1)
	b.Run("off", func(b *testing.B) {
		var s *Stream
		b.ReportAllocs()
		for b.Loop() {
			s.ObserveExchange(e)
		}
	})
	b.Run("nobody follows", func(b *testing.B) {
		s := NewStream(1024)
		b.ReportAllocs()
		for b.Loop() {
			s.ObserveExchange(e)
		}
	})
	b.Run("one follows", func(b *testing.B) {
		s := NewStream(1024)
		f, _ := s.Follow()
		defer f.Close()
		b.ReportAllocs()
		for b.Loop() {
			s.ObserveExchange(e)
		}
	})
}
