package knot

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// LookUp returns the records of a name and type, in the form of zone files without
// their name and class, sorted: "300 A 192.0.2.1". None is no error.
func (s *Server) LookUp(ctx context.Context, name string, kind uint16) ([]string, error) {
	answer, err := s.ask(ctx, name, kind)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	var found []string
	for _, rr := range answer.Answer {
		if rr.Header().Rrtype == kind {
			found = append(found, fmt.Sprintf("%d %s %s", rr.Header().Ttl, dns.TypeToString[kind], rr.String()[len(rr.Header().String()):]))
		}
	}
	slices.Sort(found)
	return found, nil
}

// ask uses TCP, so that no answer is cut short.
func (s *Server) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	client := dns.Client{Net: "tcp"}
	answer, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), s.Address)
	return answer, err
}

// Update adds records, given as in a zone file with their names in full, to a zone as
// somebody else would who has the key.
func (s *Server) Update(ctx context.Context, zone string, records ...string) error {
	message := new(dns.Msg).SetUpdate(dns.Fqdn(zone))
	for _, record := range records {
		rr, err := dns.NewRR(record)
		if err != nil {
			return fmt.Errorf("update %s: read %q: %w", zone, record, err)
		}
		message.Insert([]dns.RR{rr})
	}
	return s.send(ctx, zone, message)
}

// Delete removes all records of a name and type from a zone.
func (s *Server) Delete(ctx context.Context, zone, name string, kind uint16) error {
	message := new(dns.Msg).SetUpdate(dns.Fqdn(zone))
	message.RemoveRRset([]dns.RR{&dns.ANY{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: kind, Class: dns.ClassINET}}})
	return s.send(ctx, zone, message)
}

func (s *Server) send(ctx context.Context, zone string, message *dns.Msg) error {
	const fudge = 300 // seconds that clocks may differ (RFC 8945 section 10)
	message.SetTsig(s.Key.Name, s.Key.Algorithm, fudge, time.Now().Unix())
	client := dns.Client{Net: "tcp", TsigSecret: map[string]string{s.Key.Name: s.Key.Secret}}
	answer, _, err := client.ExchangeContext(ctx, message, s.Address)
	if err != nil {
		return fmt.Errorf("update %s: %w", zone, err)
	}
	if answer.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("update %s: %s", zone, dns.RcodeToString[answer.Rcode])
	}
	return nil
}

// Transfer returns all records of a zone but its SOA.
func (s *Server) Transfer(zone string) ([]dns.RR, error) {
	message := new(dns.Msg).SetAxfr(dns.Fqdn(zone))
	message.SetTsig(s.Key.Name, s.Key.Algorithm, 300, time.Now().Unix())
	transfer := dns.Transfer{TsigSecret: map[string]string{s.Key.Name: s.Key.Secret}}
	envelopes, err := transfer.In(message, s.Address)
	if err != nil {
		return nil, fmt.Errorf("transfer %s: %w", zone, err)
	}
	var records []dns.RR
	for envelope := range envelopes {
		if envelope.Error != nil {
			return nil, fmt.Errorf("transfer %s: %w", zone, envelope.Error)
		}
		for _, rr := range envelope.RR {
			if rr.Header().Rrtype != dns.TypeSOA {
				records = append(records, rr)
			}
		}
	}
	return records, nil
}
