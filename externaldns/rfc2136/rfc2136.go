// Package rfc2136 keeps DNS records in zones of any name server that takes dynamic
// updates (RFC 2136), signed by TSIG (RFC 8945). It reads zones by transfers (RFC 5936), or,
// where the server hands out none, by looking up the names that matter.
//
// An update says what must be there before it is made. So nothing is lost of what
// somebody else wrote since the zone was read: the update is refused, and the zone is
// read again.
package rfc2136

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/externaldns"
)

const (
	// DefaultTTL is for records that are wanted with none.
	DefaultTTL = 5 * time.Minute
	// timeout is for one message, and for each part of a transfer.
	timeout = 15 * time.Second
	// fudge is how many seconds clocks may differ (RFC 8945 section 10).
	fudge = 300
	// changesPerMessage keeps messages below the 64 KiB that TCP has for one.
	changesPerMessage = 100
)

// Options of a Provider.
type Options struct {
	// Server is the primary's HOST:PORT; without a port it is 53. It is spoken to by TCP.
	Server string
	// Zones are those that may be changed: no server can be asked which it has.
	Zones []string
	Key   Key
	TTL   time.Duration // zero is DefaultTTL
	// LookUp says that the server hands out no zones: names are looked up one by one.
	LookUp bool
}

// Key is a TSIG key. Without a name, nothing is signed.
type Key struct {
	Name      string
	Algorithm string // "hmac-sha256" when empty
	// Secret returns the key in base64. It is called for each message, so that a new one
	// comes into effect at once.
	Secret func() (string, error)
}

// Provider is an externaldns.Provider. It keeps nothing between calls.
type Provider struct {
	options Options
	zones   []externaldns.Zone
}

// New returns a Provider, or says what is wrong with the options.
func New(o Options) (*Provider, error) {
	o.TTL = cmp.Or(o.TTL, DefaultTTL)
	if o.Server == "" || len(o.Zones) == 0 {
		return nil, errors.New("an RFC 2136 provider needs a server and at least one zone")
	}
	if _, _, err := net.SplitHostPort(o.Server); err != nil {
		o.Server = net.JoinHostPort(strings.Trim(o.Server, "[]"), "53")
	}
	o.Key.Algorithm = dns.CanonicalName(cmp.Or(o.Key.Algorithm, dns.HmacSHA256))
	if known := []string{dns.HmacSHA1, dns.HmacSHA224, dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512}; !slices.Contains(known, o.Key.Algorithm) {
		return nil, fmt.Errorf("TSIG algorithm %s is none of %s", strings.TrimSuffix(o.Key.Algorithm, "."), strings.ReplaceAll(strings.Join(known, " "), ".", ""))
	}
	if o.Key.Name != "" {
		o.Key.Name = dns.CanonicalName(o.Key.Name)
	}
	p := &Provider{options: o}
	for _, zone := range o.Zones {
		name := strings.TrimSuffix(dns.CanonicalName(zone), ".")
		p.zones = append(p.zones, externaldns.Zone{ID: name, Name: name})
	}
	return p, nil
}

// Zones returns Options.Zones.
func (p *Provider) Zones(context.Context) ([]externaldns.Zone, error) { return p.zones, nil }

// Adjust gives a record the TTL that it has to have, and refuses what is Cloudflare's.
func (p *Provider) Adjust(r externaldns.Record) (externaldns.Record, error) {
	if r.Proxied == externaldns.ProxiedYes {
		return r, errors.New("this provider has no proxies: the record can't be proxied")
	}
	r.Proxied, r.Comment, r.Tags = externaldns.ProxiedDefault, "", nil
	return r, nil
}

// Records transfers a zone, or looks up what there is of some sets.
func (p *Provider) Records(ctx context.Context, zone externaldns.Zone, about []externaldns.Key) ([]externaldns.Record, error) {
	if p.options.LookUp {
		return p.lookUp(ctx, zone, about)
	}
	return p.transfer(ctx, zone)
}

func (p *Provider) transfer(ctx context.Context, zone externaldns.Zone) ([]externaldns.Record, error) {
	message := new(dns.Msg).SetAxfr(dns.Fqdn(zone.Name))
	secrets, err := p.sign(message)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, "tcp", p.options.Server)
	if err != nil {
		return nil, fmt.Errorf("transfer zone: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	transfer := dns.Transfer{Conn: &dns.Conn{Conn: conn}, TsigSecret: secrets, ReadTimeout: timeout, WriteTimeout: timeout}
	envelopes, err := transfer.In(message, p.options.Server)
	if err != nil {
		return nil, fmt.Errorf("transfer zone: %w", err)
	}
	sets := map[externaldns.Key]*externaldns.Record{}
	var keys []externaldns.Key
	var failure error
	for envelope := range envelopes { // to the end, or its sender would wait for ever
		if envelope.Error != nil {
			failure = fmt.Errorf("transfer zone: %w", p.explain(envelope.Error, "transfer it, or names be looked up one by one"))
		}
		for _, rr := range envelope.RR {
			record := toRecord(rr)
			if sets[record.Key()] == nil {
				sets[record.Key()] = &externaldns.Record{Name: record.Name, Type: record.Type, TTL: record.TTL}
				keys = append(keys, record.Key())
			}
			sets[record.Key()].Targets = append(sets[record.Key()].Targets, record.Targets...)
		}
	}
	if failure != nil {
		return nil, failure
	}
	records := make([]externaldns.Record, 0, len(keys))
	for _, key := range keys {
		records = append(records, sets[key].Canonical())
	}
	return records, nil
}

func toRecord(rr dns.RR) externaldns.Record {
	header := rr.Header()
	r := externaldns.Record{Name: header.Name, Type: dns.TypeToString[header.Rrtype], TTL: time.Duration(header.Ttl) * time.Second}
	if text, is := rr.(*dns.TXT); is {
		r.Targets = []string{externaldns.TextOf(text.Txt)}
	} else {
		r.Targets = []string{strings.TrimPrefix(rr.String(), header.String())}
	}
	return r.Canonical()
}

// toRRs returns the records of a set.
func (p *Provider) toRRs(r externaldns.Record) ([]dns.RR, error) {
	kind, known := dns.StringToType[r.Type]
	if !known {
		return nil, fmt.Errorf("there are no %s records", r.Type)
	}
	header := dns.RR_Header{Name: dns.Fqdn(r.Name), Rrtype: kind, Class: dns.ClassINET, Ttl: uint32(cmp.Or(r.TTL, p.options.TTL) / time.Second)}
	var all []dns.RR
	for _, target := range r.Targets {
		if kind == dns.TypeTXT {
			all = append(all, &dns.TXT{Hdr: header, Txt: externaldns.TextStrings(target)})
			continue
		}
		if kind == dns.TypeCNAME {
			target = dns.Fqdn(target)
		}
		rr, err := dns.NewRR(header.String() + target)
		if err != nil {
			return nil, fmt.Errorf("read target %q: %w", target, err)
		}
		all = append(all, rr)
	}
	return all, nil
}

// sign marks a message to be signed, and returns the secret that signs it.
func (p *Provider) sign(message *dns.Msg) (map[string]string, error) {
	key := p.options.Key
	if key.Name == "" {
		return nil, nil
	}
	secret, err := key.Secret()
	if err != nil {
		return nil, fmt.Errorf("read TSIG key %s: %w", key.Name, err)
	}
	if _, err := base64.StdEncoding.DecodeString(secret); err != nil {
		return nil, externaldns.CauseCredential.Of(fmt.Errorf("read TSIG key %s: its secret must be in base64: %w", key.Name, err))
	}
	message.SetTsig(key.Name, key.Algorithm, fudge, time.Now().Unix())
	return map[string]string{key.Name: secret}, nil
}

// causeOf says why a server answers otherwise than with success.
func causeOf(rcode int) externaldns.Cause {
	switch rcode {
	case dns.RcodeRefused, dns.RcodeNotAuth, dns.RcodeNotZone:
		return externaldns.CauseDenied
	case dns.RcodeServerFailure, dns.RcodeNotImplemented:
		return externaldns.CauseServer
	}
	return externaldns.CauseRefused
}

// explain says what may be wrong when a server did not do what the key must be allowed to.
func (p *Provider) explain(err error, allowed string) error {
	var refused *dns.Error
	switch {
	case errors.Is(err, dns.ErrAuth) || errors.Is(err, dns.ErrSig):
		return externaldns.CauseDenied.Of(fmt.Errorf("the server does not accept the TSIG key %s (%w): its name, algorithm and secret must be those that the server has, and the key must be allowed to %s", p.options.Key.Name, err, allowed))
	case errors.As(err, &refused):
		return externaldns.CauseDenied.Of(fmt.Errorf("the server refuses it (%w): it must be the primary of the zone, and the key must be allowed to %s", err, allowed))
	}
	return err
}
