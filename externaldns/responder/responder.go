// Package responder answers DNS queries of the local network for the gateway's own host
// names with the addresses that they have there (split horizon): who is at home goes
// straight to the gateway, while the internet comes through the tunnel.
//
// For such a name there are addresses and nothing else that leads to it: queries for
// HTTPS and SVCB records are answered with NODATA, since those of the public zone would
// make a browser use keys (ECH) that only Cloudflare has. Queries of other types, and
// for other names, are forwarded, or refused.
package responder

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	// DefaultTTL is short, because a gateway's address may move.
	DefaultTTL = 30 * time.Second
	// forwardTimeout is how long a server has to answer before the next is asked.
	forwardTimeout = 2 * time.Second
	// maxForwards bounds how many queries wait for other servers.
	maxForwards = 1024
	// udpSize is the largest answer by UDP (DNS flag day 2020).
	udpSize = 1232
)

// Options of a Responder.
type Options struct {
	// Listen are addresses, like "192.168.1.2:53", on each of which UDP and TCP are
	// served.
	Listen []string
	// Forward are servers, HOST:PORT, that are asked in turn for what is not ours. With
	// none, such queries are refused.
	Forward []string
	TTL     time.Duration // of answers, in whole seconds; zero is DefaultTTL
	// AllowFrom are the clients that are answered; nil is LocalNetworks. All others are
	// refused, so that nobody's traffic is amplified.
	AllowFrom []netip.Prefix
	// Observe is called for each query that was answered; nil is nobody.
	Observe func(Outcome)
	// Listening is called when an address of Listen was opened, and when it could not be,
	// for a reason that is not that of the last time; nil is nobody. Neither function may
	// block, and both are called by several goroutines.
	Listening func(Socket)
}

// Outcome is what became of a query.
type Outcome int

// Outcomes.
const (
	Answered   Outcome = iota // from our own hosts
	Forwarded                 // and answered elsewhere
	Refused                   // not ours, or not allowed
	Unanswered                // no server that was asked has answered
)

// String is a word for metrics.
func (o Outcome) String() string {
	return [...]string{"answered", "forwarded", "refused", "unanswered"}[o]
}

// LocalNetworks are the private networks, and this host.
func LocalNetworks() []netip.Prefix {
	var all []netip.Prefix
	for _, s := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// Responder answers DNS queries.
type Responder struct {
	options  Options
	hosts    atomic.Pointer[hosts]
	forwards chan struct{} // holds one token for each query that is forwarded
}

// New returns a Responder, which serves with Run. Before the first Apply it has no hosts.
func New(o Options) *Responder {
	o.TTL = cmp.Or(o.TTL, DefaultTTL)
	if o.AllowFrom == nil {
		o.AllowFrom = LocalNetworks()
	}
	if o.Observe == nil {
		o.Observe = func(Outcome) {}
	}
	if o.Listening == nil {
		o.Listening = func(Socket) {}
	}
	r := &Responder{options: o, forwards: make(chan struct{}, maxForwards)}
	r.Apply(nil)
	return r
}

// Apply says which hosts there are from now on. It never blocks, and is safe for
// concurrent use.
func (r *Responder) Apply(list []Host) {
	h := newHosts(list)
	r.hosts.Store(&h)
}

// ServeDNS implements dns.Handler.
func (r *Responder) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	response, outcome := r.respond(w, query)
	r.options.Observe(outcome)
	_ = w.WriteMsg(response) // who does not listen needs no answer
}

func (r *Responder) respond(w dns.ResponseWriter, query *dns.Msg) (*dns.Msg, Outcome) {
	if !r.allowed(w.RemoteAddr()) {
		return r.refuse(query, dns.RcodeRefused), Refused
	}
	if len(query.Question) != 1 || query.Opcode != dns.OpcodeQuery {
		return r.refuse(query, dns.RcodeNotImplemented), Refused
	}
	if option := query.IsEdns0(); option != nil && option.Version() != 0 {
		return r.refuse(query, dns.RcodeBadVers), Refused
	}
	question := query.Question[0]
	if addresses, ours := r.hosts.Load().find(question.Name); ours && question.Qclass == dns.ClassINET {
		if leads(question.Qtype) || len(r.options.Forward) == 0 {
			return r.answer(w, query, addresses), Answered
		}
	}
	if len(r.options.Forward) == 0 {
		return r.refuse(query, dns.RcodeRefused), Refused
	}
	return r.forward(w, query)
}

// refuse returns an answer that is a code alone.
func (r *Responder) refuse(query *dns.Msg, code int) *dns.Msg {
	return r.extend(query, new(dns.Msg).SetRcode(query, code))
}

// extend gives an answer what a query with EDNS is answered with (RFC 6891 section 6.1.1).
func (r *Responder) extend(query, response *dns.Msg) *dns.Msg {
	response.RecursionAvailable = len(r.options.Forward) > 0
	if query.IsEdns0() != nil {
		response.SetEdns0(udpSize, false)
	}
	return response
}

func (r *Responder) allowed(client net.Addr) bool {
	address, err := netip.ParseAddrPort(client.String())
	return err == nil && slices.ContainsFunc(r.options.AllowFrom, func(p netip.Prefix) bool {
		return p.Contains(address.Addr().Unmap().WithZone(""))
	})
}

// leads tells whether records of a type lead to a host, or stand for all of its records.
func leads(kind uint16) bool {
	return slices.Contains([]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeANY}, kind)
}

// answer answers for a host of ours. What it has no records of is NODATA, with a SOA
// that says how long that holds (RFC 2308).
func (r *Responder) answer(w dns.ResponseWriter, query *dns.Msg, addresses []netip.Addr) *dns.Msg {
	response := r.extend(query, new(dns.Msg).SetReply(query))
	response.Authoritative = true
	question := query.Question[0]
	header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: uint32(r.options.TTL / time.Second)}
	for _, address := range addresses {
		switch {
		case question.Qtype == dns.TypeA && address.Is4():
			response.Answer = append(response.Answer, &dns.A{Hdr: header, A: address.AsSlice()})
		case question.Qtype == dns.TypeAAAA && address.Is6():
			response.Answer = append(response.Answer, &dns.AAAA{Hdr: header, AAAA: address.AsSlice()})
		}
	}
	if question.Qtype == dns.TypeANY { // RFC 8482 section 4.2
		header.Rrtype = dns.TypeHINFO
		response.Answer = append(response.Answer, &dns.HINFO{Hdr: header, Cpu: "RFC8482"})
	}
	if len(response.Answer) == 0 {
		header.Rrtype = dns.TypeSOA
		response.Ns = []dns.RR{&dns.SOA{
			Hdr: header, Ns: "localhost.", Mbox: "nobody.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: header.Ttl,
		}}
	}
	size := dns.MinMsgSize
	if option := query.IsEdns0(); option != nil {
		size = max(size, min(udpSize, int(option.UDPSize())))
	}
	if w.RemoteAddr().Network() == "udp" {
		response.Truncate(size)
	}
	return response
}

// Why a query has no answer of another server.
var (
	errBusy  = errors.New("too many queries wait for other servers")
	errOther = errors.New("the answer is one to another question")
)

// forward asks the servers in turn, as the client asked us: by UDP an answer may be cut,
// and the client comes again by TCP.
func (r *Responder) forward(w dns.ResponseWriter, query *dns.Msg) (*dns.Msg, Outcome) {
	response, err := r.ask(w.RemoteAddr().Network(), query)
	if err != nil {
		return r.refuse(query, dns.RcodeServerFailure), Unanswered
	}
	return response, Forwarded
}

func (r *Responder) ask(network string, query *dns.Msg) (*dns.Msg, error) {
	select {
	case r.forwards <- struct{}{}:
		defer func() { <-r.forwards }()
	default:
		return nil, errBusy
	}
	client := dns.Client{Net: network, Timeout: forwardTimeout, UDPSize: udpSize}
	var errs []error
	for _, server := range r.options.Forward {
		response, _, err := client.Exchange(query, server)
		if err == nil && !slices.Equal(response.Question, query.Question) {
			err = errOther
		}
		if err == nil {
			return response, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
