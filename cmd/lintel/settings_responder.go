package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/externaldns/responder"
)

// maxAnswerTTL is a day: an address that moved would be asked for in vain for longer.
const maxAnswerTTL = 24 * time.Hour

// responderSettings are how the local network is answered.
type responderSettings struct {
	Listen    []string // host:port, of which the host may be empty; none is off
	Addresses []netip.Addr
	Exclude   []string // domains
	Forward   []string // address:port
	Allow     []netip.Prefix
	TTL       time.Duration
}

// enabled tells whether anybody is answered.
func (r *responderSettings) enabled() bool { return len(r.Listen) > 0 }

func localDNSSettings(s *Settings) []setting {
	r := &s.Responder
	return []setting{
		{name: "dns-responder-address", value: list(&r.Listen, listenAddress),
			usage: "`addresses` (:port or address:port) where DNS queries of the local network are answered, by UDP and TCP: the names that are served with their addresses there, and HTTPS records of them with none; empty is off"},
		{name: "dns-responder-answer", value: list(&r.Addresses, localAddress),
			usage: "`addresses` at which names are said to be; without them the private addresses of the Gateway or of the nodes, and without these, where objects come from manifests, the ones in dns-responder-address"},
		{name: "dns-responder-exclude", value: list(&r.Exclude, wholeDomain),
			usage: "`domains` that are not answered, though a wildcard of ours covers them: each stands for itself and all below it"},
		{name: "dns-responder-forward", value: list(&r.Forward, forwarder),
			usage: "`servers` (address or address:port) that are asked, in this order, for everything else; with none it is refused"},
		{name: "dns-responder-allow", value: list(&r.Allow, network),
			usage: "`networks` (CIDR or address) whose queries are answered; without them the private ones, and this machine"},
		{name: "dns-responder-ttl", value: timeout(&r.TTL, responder.DefaultTTL),
			usage: "`time` that clients may keep an answer, in whole seconds"},
	}
}

func listenAddress(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	if n, parse := strconv.ParseUint(port, 10, 16); err != nil || parse != nil || n == 0 {
		return "", errors.New("must be :port or address:port, such as :53 or 192.168.1.2:53")
	}
	return s, nil
}

// wholeDomain is a domain with its own name.
func wholeDomain(s string) (string, error) {
	s, err := domainName(s)
	if err == nil && strings.HasPrefix(s, ".") {
		err = errors.New("must be a domain without a dot before it, such as mail.example.com")
	}
	return s, err
}

func localAddress(s string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" {
		return ip, errors.New("must be an IP address, such as 192.168.1.2")
	}
	return ip.Unmap(), nil
}

// forwarder is an address: to look up a name it would have to be asked first.
func forwarder(s string) (string, error) {
	if at, err := netip.ParseAddrPort(s); err == nil && at.Port() != 0 {
		return at.String(), nil
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		return "", errors.New("must be an address, or address:port, such as 192.168.1.1 or 1.1.1.1:53")
	}
	return netip.AddrPortFrom(ip, 53).String(), nil
}

// validate finds what does not fit together.
func (r *responderSettings) validate() error {
	switch {
	case !r.enabled() && (len(r.Addresses)+len(r.Exclude)+len(r.Forward)+len(r.Allow) > 0 || r.TTL != responder.DefaultTTL):
		return errors.New("dns-responder-address is not set, though other settings dns-responder-* are: it says where queries are answered, such as :53")
	case r.TTL < time.Second || r.TTL%time.Second != 0 || r.TTL > maxAnswerTTL:
		return fmt.Errorf("dns-responder-ttl: %s must be whole seconds, from 1s to %s", r.TTL, maxAnswerTTL)
	}
	for _, server := range r.Forward {
		at := netip.MustParseAddrPort(server)
		if slices.Contains(r.Listen, server) || at.Addr().IsLoopback() && slices.Contains(r.Listen, fmt.Sprintf(":%d", at.Port())) {
			return fmt.Errorf("dns-responder-forward: %s is this responder itself, by dns-responder-address: name another server, such as the router", server)
		}
	}
	return nil
}

// own are the private addresses that are listened on.
func (r *responderSettings) own() []netip.Addr {
	var own []netip.Addr
	for _, address := range r.Listen {
		if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().IsPrivate() {
			own = append(own, at.Addr())
		}
	}
	return own
}
