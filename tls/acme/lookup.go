package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// queryTimeout is for one question to one DNS server.
	queryTimeout = 5 * time.Second
	// maxAliases bounds a chain of CNAMEs.
	maxAliases = 8
	// udpSize is what fits into one packet on every path.
	udpSize = 1232
)

// publicResolvers are asked unless others are given.
func publicResolvers() []string { return []string{"1.1.1.1:53", "8.8.8.8:53", "9.9.9.9:53"} }

// withPort appends a port to an address that has none.
func withPort(address, port string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}

// lookup asks resolvers, one after the other.
type lookup struct{ resolvers []string } // each host:port

func newLookup(resolvers []string) lookup {
	if len(resolvers) == 0 {
		return lookup{publicResolvers()}
	}
	l := lookup{}
	for _, r := range resolvers {
		l.resolvers = append(l.resolvers, withPort(r, "53"))
	}
	return l
}

// ask puts a question to one server, over UDP and again over TCP if the answer does
// not fit. Any rcode is an answer.
func ask(ctx context.Context, server, name string, kind uint16) (*dns.Msg, error) {
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	question.SetEdns0(udpSize, false)
	var answer *dns.Msg
	var err error
	for _, network := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: network, Timeout: queryTimeout}
		answer, _, err = client.ExchangeContext(ctx, question, server)
		if err == nil && !answer.Truncated {
			return answer, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// resolve puts a question to the resolvers until one answers, be it that there is
// no such name, and returns who it was.
func (l lookup) resolve(ctx context.Context, name string, kind uint16) (answer *dns.Msg, server string, err error) {
	var failures []error
	for _, server := range l.resolvers {
		answer, err := ask(ctx, server, name, kind)
		switch {
		case err != nil:
			failures = append(failures, fmt.Errorf("%s: %w", server, err))
		case answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError:
			return answer, server, nil
		default:
			failures = append(failures, fmt.Errorf("%s: %s", server, dns.RcodeToString[answer.Rcode]))
		}
	}
	return nil, "", fmt.Errorf("resolve %s %s: %w", dns.TypeToString[kind], name, errors.Join(failures...))
}

// follow returns where a name leads to by CNAMEs: itself, mostly. An alias that a
// wildcard makes up for every name is none: it was not meant for this one.
func (l lookup) follow(ctx context.Context, name string) (string, error) {
	for range maxAliases {
		next, err := l.alias(ctx, name)
		if err != nil || next == "" {
			return name, err
		}
		_, parent, _ := strings.Cut(name, ".")
		other, err := l.alias(ctx, "_lintel-any-other."+parent)
		if err != nil {
			return "", err
		}
		if other == next {
			return name, nil
		}
		name = next
	}
	return "", fmt.Errorf("resolve CNAME %s: more than %d lead on from each other", name, maxAliases)
}

// alias returns what name is a CNAME for; "" if it is none.
func (l lookup) alias(ctx context.Context, name string) (string, error) {
	answer, _, err := l.resolve(ctx, name, dns.TypeCNAME)
	if err != nil {
		return "", err
	}
	for _, record := range answer.Answer {
		if alias, ok := record.(*dns.CNAME); ok && strings.EqualFold(alias.Hdr.Name, dns.Fqdn(name)) {
			return strings.ToLower(alias.Target), nil
		}
	}
	return "", nil
}

// zone is the part of the DNS that a name belongs to.
type zone struct {
	name string // with a dot at its end
	// servers answer for it with authority, each host:port.
	servers []string
	// public tells that servers are those that everybody asks, found by the
	// resolvers, and not resolvers that have authority.
	public bool
}

// zoneOf finds the zone of a name by its SOA record, and the zone's servers.
func (l lookup) zoneOf(ctx context.Context, name string) (zone, error) {
	for rest := dns.Fqdn(strings.ToLower(name)); rest != "." && rest != ""; _, rest, _ = strings.Cut(rest, ".") {
		answer, server, err := l.resolve(ctx, rest, dns.TypeSOA)
		if err != nil {
			return zone{}, err
		}
		for _, record := range slices.Concat(answer.Answer, answer.Ns) {
			soa, ok := record.(*dns.SOA)
			if !ok || soa.Hdr.Name == "." || !dns.IsSubDomain(soa.Hdr.Name, rest) {
				continue
			}
			found := zone{name: strings.ToLower(soa.Hdr.Name)}
			if answer.Authoritative {
				found.servers = []string{server}
				return found, nil
			}
			found.public = true
			found.servers, err = l.servers(ctx, found.name)
			return found, err
		}
	}
	return zone{}, fmt.Errorf("find zone of %s: there is none in the DNS, asked %s", name, strings.Join(l.resolvers, ", "))
}

// servers returns the addresses of a zone's name servers.
func (l lookup) servers(ctx context.Context, zone string) ([]string, error) {
	answer, _, err := l.resolve(ctx, zone, dns.TypeNS)
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, record := range answer.Answer {
		ns, ok := record.(*dns.NS)
		if !ok {
			continue
		}
		for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
			// One server without an address is not the end; none is, below.
			if answer, _, err := l.resolve(ctx, ns.Ns, kind); err == nil {
				addresses = append(addresses, addressesIn(answer)...)
			}
		}
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("find servers of zone %s: no name server of it has an address", zone)
	}
	return addresses, nil
}

func addressesIn(answer *dns.Msg) []string {
	var addresses []string
	for _, record := range answer.Answer {
		switch r := record.(type) {
		case *dns.A:
			addresses = append(addresses, net.JoinHostPort(r.A.String(), "53"))
		case *dns.AAAA:
			addresses = append(addresses, net.JoinHostPort(r.AAAA.String(), "53"))
		}
	}
	return addresses
}

// hasTXT tells whether a server answers with a TXT record of this value.
func hasTXT(ctx context.Context, server, name, value string) (bool, error) {
	answer, err := ask(ctx, server, name, dns.TypeTXT)
	if err != nil {
		return false, err
	}
	for _, record := range answer.Answer {
		if txt, ok := record.(*dns.TXT); ok && strings.Join(txt.Txt, "") == value {
			return true, nil
		}
	}
	return false, nil
}
