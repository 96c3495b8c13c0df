package cloudflare

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// automaticTTL is what records with an automatic TTL are answered with, in seconds.
const automaticTTL = 300

// maxChain bounds how many CNAMEs are followed.
const maxChain = 8

// nameServers are those of every zone. They stand for the one real address.
func nameServers() []string { return []string{"ada.ns.cloudflare.test", "bob.ns.cloudflare.test"} }

// Edge returns what the names of proxied records resolve to, whatever their content:
// addresses for documentation, at which there is nobody.
func Edge() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")}
}

// nameServer answers for the zones of a Server, with authority, and for no other.
type nameServer struct {
	address string
	api     *Server
	servers []*dns.Server
	ended   chan error // one value a server
}

// startNameServer listens on one port for UDP and TCP.
func startNameServer(ctx context.Context, api *Server) (*nameServer, error) {
	var config net.ListenConfig
	const attempts = 20 // the port that is free for TCP may be taken for UDP
	for attempt := 1; ; attempt++ {
		tcp, err := config.Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		udp, err := config.ListenPacket(ctx, "udp4", tcp.Addr().String())
		if err != nil {
			tcp.Close()
			if attempt == attempts {
				return nil, fmt.Errorf("listen: %w", err)
			}
			continue
		}
		n := &nameServer{address: tcp.Addr().String(), api: api, ended: make(chan error, 2)}
		for _, server := range []*dns.Server{{Listener: tcp, Handler: n}, {PacketConn: udp, Handler: n}} {
			started := make(chan struct{})
			server.NotifyStartedFunc = func() { close(started) }
			n.servers = append(n.servers, server)
			go func() { n.ended <- server.ActivateAndServe() }()
			<-started // or Shutdown would find nothing to end
		}
		return n, nil
	}
}

func (n *nameServer) stop() error {
	var errs []error
	for _, server := range n.servers {
		errs = append(errs, server.Shutdown())
	}
	for range n.servers {
		errs = append(errs, <-n.ended)
	}
	return errors.Join(errs...)
}

// ServeDNS implements dns.Handler.
func (n *nameServer) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	response := new(dns.Msg).SetReply(request)
	size := dns.MinMsgSize
	if option := request.IsEdns0(); option != nil {
		response.SetEdns0(dns.DefaultMsgSize, false)
		size = max(size, int(option.UDPSize()))
	}
	if len(request.Question) != 1 || request.Opcode != dns.OpcodeQuery {
		response.Rcode = dns.RcodeNotImplemented
	} else {
		n.api.resolve(response, request.Question[0])
	}
	if w.RemoteAddr().Network() == "udp" {
		response.Truncate(size)
	}
	_ = w.WriteMsg(response) // who does not listen needs no answer
}

// resolve fills in an answer.
func (s *Server) resolve(response *dns.Msg, question dns.Question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := canonical(question.Name)
	z := s.zoneOf(name)
	if z == nil {
		response.Rcode = dns.RcodeRefused
		return
	}
	response.Authoritative = true
	if s.lagging && question.Qtype == dns.TypeTXT {
		response.Ns = []dns.RR{z.authority()}
		return
	}
	for range maxChain {
		there, next := z.answer(response, name, question.Qtype)
		if next != "" {
			if following := s.zoneOf(next); following != nil {
				name, z = next, following
				continue
			}
			return // who asks goes on elsewhere
		}
		if !there && len(response.Answer) == 0 {
			response.Rcode = dns.RcodeNameError
		}
		break
	}
	if len(response.Answer) == 0 {
		response.Ns = []dns.RR{z.authority()}
	}
}

// zoneOf returns the zone with the longest name that a name lies in.
func (s *Server) zoneOf(name string) *zone {
	var best *zone
	for _, z := range s.zones {
		if (name == z.name || strings.HasSuffix(name, "."+z.name)) && (best == nil || len(z.name) > len(best.name)) {
			best = z
		}
	}
	return best
}

// answer adds the records for a name and type. It tells whether there is anything at
// or below that name, and what a CNAME says to go on with.
func (z *zone) answer(response *dns.Msg, name string, kind uint16) (there bool, next string) {
	if name == z.name {
		switch kind {
		case dns.TypeSOA:
			response.Answer = append(response.Answer, z.authority())
			return true, ""
		case dns.TypeNS:
			for _, server := range nameServers() {
				response.Answer = append(response.Answer, &dns.NS{Hdr: header(z.name, dns.TypeNS, 86400), Ns: dns.Fqdn(server)})
			}
			return true, ""
		}
	}
	records, there := z.at(name)
	for _, r := range records {
		switch {
		case r.Proxied:
			response.Answer = append(response.Answer, proxied(name, kind)...)
		case r.Type == dns.TypeToString[kind] || kind == dns.TypeANY || r.Type == "CNAME":
			rr, err := r.rr(name)
			if err != nil {
				response.Rcode = dns.RcodeServerFailure
				return true, ""
			}
			response.Answer = append(response.Answer, rr)
			if r.Type == "CNAME" && kind != dns.TypeCNAME && kind != dns.TypeANY {
				next = r.Content
			}
		}
	}
	if next != "" && slices.ContainsFunc(records, func(r Record) bool { return r.Type == dns.TypeToString[kind] }) {
		next = "" // Cloudflare lets a CNAME stand beside a TXT
	}
	return there || name == z.name, next
}

// at returns the records of a name, or of the wildcard that covers it: the one below
// the closest name above it that exists (RFC 4592 section 3.3.1).
func (z *zone) at(name string) (records []Record, there bool) {
	if z.exists(name) {
		return z.named(name), true
	}
	for encloser := name; encloser != z.name; {
		_, encloser, _ = strings.Cut(encloser, ".")
		if encloser == z.name || z.exists(encloser) {
			records = z.named("*." + encloser)
			return records, len(records) > 0
		}
	}
	return nil, false
}

// named returns the records of a name, in one order.
func (z *zone) named(name string) []Record {
	var records []Record
	for _, r := range z.records {
		if r.Name == name {
			records = append(records, r)
		}
	}
	slices.SortFunc(records, compareRecords)
	return records
}

// exists tells whether there is anything at or below a name.
func (z *zone) exists(name string) bool {
	for _, r := range z.records {
		if r.Name == name || strings.HasSuffix(r.Name, "."+name) {
			return true
		}
	}
	return false
}

func header(name string, kind uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: dns.Fqdn(name), Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

func (z *zone) authority() dns.RR {
	return &dns.SOA{
		Hdr: header(z.name, dns.TypeSOA, 1800), Ns: dns.Fqdn(nameServers()[0]), Mbox: "dns.cloudflare.test.",
		Serial: 1, Refresh: 10000, Retry: 2400, Expire: 604800, Minttl: 60, // fake: the serial never changes
	}
}

func proxied(name string, kind uint16) []dns.RR {
	edge := Edge()
	switch kind {
	case dns.TypeA:
		return []dns.RR{&dns.A{Hdr: header(name, kind, automaticTTL), A: edge[0].AsSlice()}}
	case dns.TypeAAAA:
		return []dns.RR{&dns.AAAA{Hdr: header(name, kind, automaticTTL), AAAA: edge[1].AsSlice()}}
	}
	return nil
}

// rr is the record as it is answered for a name.
func (r Record) rr(name string) (dns.RR, error) {
	ttl := uint32(r.TTL)
	if r.TTL == 1 {
		ttl = automaticTTL
	}
	content := r.Content
	switch r.Type {
	case "TXT":
		if !strings.HasPrefix(content, `"`) {
			return &dns.TXT{Hdr: header(name, dns.TypeTXT, ttl), Txt: parts(content)}, nil
		}
	case "CNAME", "NS":
		content = dns.Fqdn(content)
	case "MX":
		content = fmt.Sprintf("%d %s", *r.Priority, dns.Fqdn(content))
	case "SRV":
		content = fmt.Sprint(r.Data["priority"], " ", dns.Fqdn(content))
	}
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", dns.Fqdn(name), ttl, r.Type, content))
	if err != nil {
		return nil, fmt.Errorf("read record %s %s: %w", r.Type, r.Name, err)
	}
	return rr, nil
}

// parts cuts a text into the strings of a TXT record, of 255 octets at most.
func parts(text string) []string {
	const most = 255
	var all []string
	for len(text) > most {
		all, text = append(all, text[:most]), text[most:]
	}
	return append(all, text)
}
