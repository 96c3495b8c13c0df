package responder

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
)

// lan is a Responder that serves, and what it observed.
type lan struct {
	*Responder
	address string

	mu       sync.Mutex
	outcomes map[Outcome]int
}

func serve(t *testing.T, o Options) *lan {
	t.Helper()
	l := &lan{outcomes: map[Outcome]int{}}
	o.Listen = []string{"127.0.0.1:0"}
	o.Observe = func(outcome Outcome) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.outcomes[outcome]++
	}
	sockets := make(chan Socket, 1)
	o.Listening = func(s Socket) { sockets <- s }
	l.Responder = New(o)
	run(t, l.Responder)
	s := <-sockets
	if s.Err != nil {
		t.Fatal(s.Err)
	}
	l.address = s.Open.String()
	return l
}

// run runs a Responder until the test ends, or what it returns is called.
func run(t *testing.T, r *Responder) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// query asks by UDP and by TCP, which must not differ.
func (l *lan) query(t *testing.T, name string, kind uint16) *dns.Msg {
	t.Helper()
	var answers []*dns.Msg
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network}
		question := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
		question.SetEdns0(1232, false)
		answer, _, err := client.ExchangeContext(t.Context(), question, l.address)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer)
	}
	if !slices.Equal(texts(answers[0]), texts(answers[1])) || answers[0].Rcode != answers[1].Rcode {
		t.Errorf("%s: UDP and TCP differ:\n%v\n%v", name, answers[0], answers[1])
	}
	return answers[0]
}

func texts(m *dns.Msg) []string {
	var all []string
	for _, rr := range m.Answer {
		all = append(all, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(all)
	return all
}

func home() []Host {
	addresses := func(s ...string) (all []netip.Addr) {
		for _, a := range s {
			all = append(all, netip.MustParseAddr(a))
		}
		return all
	}
	return []Host{
		{"www.example.test", addresses("192.168.1.2", "192.168.1.3", "fd00::2")},
		{"*.example.test", addresses("192.168.1.4")},
		{"*.deep.example.test", addresses("192.168.1.5")},
		{Name: "mail.example.test"},
		{Name: "*.away.example.test"},
	}
}

// internet is a name server with the public records of the same names.
func internet(t *testing.T) *cloudflare.Server {
	t.Helper()
	public := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test", "elsewhere.test"}})
	for _, r := range []cloudflare.Record{
		{Type: "A", Name: "www.example.test", Content: "203.0.113.1", Proxied: true},
		{Type: "HTTPS", Name: "www.example.test", Data: map[string]any{"priority": 1, "target": ".", "value": `alpn="h2"`}},
		{Type: "TXT", Name: "www.example.test", Content: `"public"`},
		{Type: "A", Name: "mail.example.test", Content: "203.0.113.25"},
	} {
		if _, err := public.Put("example.test", r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := public.Put("elsewhere.test", cloudflare.Record{Type: "A", Name: "a.elsewhere.test", Content: "203.0.113.9"}); err != nil {
		t.Fatal(err)
	}
	return public
}

func TestOurHostsAreOnTheLocalNetworkAndTheRestIsElsewhere(t *testing.T) {
	l := serve(t, Options{Forward: []string{internet(t).DNS}})
	l.Apply(home())
	for _, c := range []struct {
		name  string
		kind  uint16
		want  []string
		rcode int
	}{
		{"www.example.test", dns.TypeA, []string{"192.168.1.2", "192.168.1.3"}, dns.RcodeSuccess},
		{"WWW.Example.test", dns.TypeAAAA, []string{"fd00::2"}, dns.RcodeSuccess},
		{"www.example.test", dns.TypeHTTPS, nil, dns.RcodeSuccess},
		{"www.example.test", dns.TypeSVCB, nil, dns.RcodeSuccess},
		{"www.example.test", dns.TypeCNAME, nil, dns.RcodeSuccess},
		{"www.example.test", dns.TypeTXT, []string{`"public"`}, dns.RcodeSuccess},
		{"app.example.test", dns.TypeA, []string{"192.168.1.4"}, dns.RcodeSuccess},
		{"a.b.example.test", dns.TypeA, []string{"192.168.1.4"}, dns.RcodeSuccess},
		{"a.deep.example.test", dns.TypeA, []string{"192.168.1.5"}, dns.RcodeSuccess},
		{"app.example.test", dns.TypeAAAA, nil, dns.RcodeSuccess},
		{"mail.example.test", dns.TypeA, []string{"203.0.113.25"}, dns.RcodeSuccess},
		{"x.away.example.test", dns.TypeA, nil, dns.RcodeNameError},
		{"a.elsewhere.test", dns.TypeA, []string{"203.0.113.9"}, dns.RcodeSuccess},
		{"b.elsewhere.test", dns.TypeA, nil, dns.RcodeNameError},
	} {
		answer := l.query(t, c.name, c.kind)
		if got := texts(answer); !slices.Equal(got, c.want) || answer.Rcode != c.rcode {
			t.Errorf("%s %s: %v, %s", c.name, dns.TypeToString[c.kind], got, dns.RcodeToString[answer.Rcode])
		}
		if len(c.want) == 0 && (len(answer.Ns) != 1 || answer.Ns[0].Header().Rrtype != dns.TypeSOA) {
			t.Errorf("%s %s: nothing says how long there is nothing: %v", c.name, dns.TypeToString[c.kind], answer)
		}
	}
	l.Apply(nil)
	if got := texts(l.query(t, "www.example.test", dns.TypeA)); !slices.Equal(got, []string{"198.51.100.1"}) {
		t.Errorf("no longer ours, it is %v", got)
	}
}

func TestWithoutServersToAskTheRestIsRefused(t *testing.T) {
	l := serve(t, Options{})
	l.Apply(home())
	if answer := l.query(t, "a.elsewhere.test", dns.TypeA); answer.Rcode != dns.RcodeRefused {
		t.Errorf("%v", answer)
	}
	if answer := l.query(t, "www.example.test", dns.TypeTXT); answer.Rcode != dns.RcodeSuccess || len(answer.Answer) != 0 {
		t.Errorf("%v", answer)
	}
	if answer := l.query(t, "www.example.test", dns.TypeANY); answer.Rcode != dns.RcodeSuccess || len(answer.Answer) != 1 {
		t.Errorf("%v", answer)
	}
	if l.outcomes[Refused] != 2 || l.outcomes[Answered] != 4 {
		t.Errorf("outcomes: %v", l.outcomes)
	}
}

func TestASecondServerStandsIn(t *testing.T) {
	public := internet(t)
	const closed = "127.0.0.1:1" // where nobody listens
	l := serve(t, Options{Forward: []string{closed, public.DNS}})
	if got := texts(l.query(t, "a.elsewhere.test", dns.TypeA)); !slices.Equal(got, []string{"203.0.113.9"}) {
		t.Errorf("%v", got)
	}
	alone := serve(t, Options{Forward: []string{closed}})
	if answer := alone.query(t, "a.elsewhere.test", dns.TypeA); answer.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v", answer)
	}
	if alone.outcomes[Unanswered] != 2 {
		t.Errorf("outcomes: %v", alone.outcomes)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	l := serve(t, Options{AllowFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	l.Apply(home())
	question := new(dns.Msg).SetQuestion("www.example.test.", dns.TypeA)
	client := dns.Client{}
	if answer, _, err := client.ExchangeContext(t.Context(), question, l.address); err != nil || answer.Rcode != dns.RcodeRefused || len(answer.Answer) != 0 {
		t.Errorf("%v, %v", answer, err)
	}
	client.Net = "tcp"
	if answer, _, err := client.ExchangeContext(t.Context(), question, l.address); err == nil {
		t.Errorf("by TCP: %v", answer)
	}
}

func TestManyAddressesAreCutByUDPAlone(t *testing.T) {
	l := serve(t, Options{})
	var many []netip.Addr
	for i := range 200 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	l.Apply([]Host{{"many.example.test", many}})
	question := new(dns.Msg).SetQuestion("many.example.test.", dns.TypeA)
	for network, whole := range map[string]bool{"udp": false, "tcp": true} {
		client := dns.Client{Net: network}
		answer, _, err := client.ExchangeContext(t.Context(), question, l.address)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Truncated == whole || len(answer.Answer) == 200 != whole {
			t.Errorf("%s: %d addresses, truncated %v", network, len(answer.Answer), answer.Truncated)
		}
	}
}

// TestAnAddressInUseIsTakenWhenItIsFree shows that one address waits for another program to
// end, while the others serve.
func TestAnAddressInUseIsTakenWhenItIsFree(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sockets := make(chan Socket, 9)
	taken := other.Addr().String()
	r := New(Options{Listen: []string{taken, "127.0.0.1:0"}, Listening: func(s Socket) { sockets <- s }})
	r.Apply(home())
	stop := run(t, r)
	ask := func(address string) error {
		client := dns.Client{}
		_, _, err := client.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion("www.example.test.", dns.TypeA), address)
		return err
	}
	for range 2 {
		switch s := <-sockets; {
		case s.Address == taken && !errors.Is(s.Err, syscall.EADDRINUSE):
			t.Errorf("%v", s)
		case s.Address != taken && (s.Err != nil || ask(s.Open.String()) != nil):
			t.Errorf("%v: %v", s, ask(s.Open.String()))
		}
	}
	other.Close()
	if s := <-sockets; s.Open.String() != taken {
		t.Errorf("%v", s)
	}
	if err := ask(taken); err != nil {
		t.Error(err)
	}
	stop()
	if len(sockets) > 0 {
		t.Errorf("said again: %v", <-sockets)
	}
}

func TestEDNSIsAnswered(t *testing.T) {
	l := serve(t, Options{})
	l.Apply(home())
	ask := func(name string, version uint8) *dns.Msg {
		question := new(dns.Msg).SetQuestion(name, dns.TypeA)
		question.SetEdns0(4096, true)
		question.IsEdns0().SetVersion(version)
		client := dns.Client{}
		answer, _, err := client.ExchangeContext(t.Context(), question, l.address)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for _, c := range []struct {
		name    string
		version uint8
		rcode   int
	}{{"www.example.test.", 0, dns.RcodeSuccess}, {"www.example.test.", 1, dns.RcodeBadVers}, {"www.example.org.", 0, dns.RcodeRefused}} {
		answer := ask(c.name, c.version)
		if option := answer.IsEdns0(); answer.Rcode != c.rcode || option == nil || option.UDPSize() != udpSize {
			t.Errorf("%s, version %d: %v", c.name, c.version, answer)
		}
	}
}
