package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// Where the edge is (SRV records), and who is asked over TLS when the system's DNS does
// not know.
const (
	edgeService = "v2-origintunneld"
	edgeDomain  = "argotunnel.com"
	dotServer   = "cloudflare-dns.com"
	dotAddress  = "1.1.1.1:853"
	// lookupTimeout bounds one look at DNS, by one of the ways.
	lookupTimeout = 10 * time.Second
)

// regions are how many groups of addresses there are that do not fail together.
const regions = 2

// Edge says where the edge is and how to know it. The zero value is Cloudflare's.
type Edge struct {
	// Addresses are taken in place of what DNS says. They belong to the two regions in
	// turn.
	Addresses []netip.AddrPort
	// Resolvers are asked one after the other, until one knows; nil is the system's, and
	// then Cloudflare's over TLS.
	Resolvers []*net.Resolver
	// Roots check the edge's certificates; nil is [EdgeRoots].
	Roots *x509.CertPool
}

func (e *Edge) roots() *x509.CertPool {
	if e.Roots == nil {
		return EdgeRoots()
	}
	return e.Roots
}

// resolversOrDefault are Resolvers, or what nil stands for.
func (e *Edge) resolversOrDefault() []*net.Resolver {
	if e.Resolvers != nil {
		return e.Resolvers
	}
	overTLS := ResolverOverTLS(dotAddress, &tls.Config{ServerName: dotServer, MinVersion: tls.VersionTLS12})
	return []*net.Resolver{net.DefaultResolver, overTLS}
}

// ResolverOverTLS asks a server ("ip:port") by DNS over TLS (RFC 7858).
func ResolverOverTLS(address string, config *tls.Config) *net.Resolver {
	dialer := tls.Dialer{Config: config}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", address)
	}}
}

// resolve returns the addresses of each region. endpoint is that of [Credentials].
func (e *Edge) resolve(ctx context.Context, endpoint string) ([regions][]netip.AddrPort, error) {
	var found [regions][]netip.AddrPort
	if e.Addresses != nil {
		for i, address := range e.Addresses {
			found[i%regions] = append(found[i%regions], address)
		}
		return found, nil
	}
	service := edgeService
	if endpoint != "" {
		service = endpoint + "-" + edgeService
	}
	var failures []error
	for _, resolver := range e.resolversOrDefault() {
		found, err := lookUp(ctx, resolver, service)
		if err == nil {
			return found, nil
		}
		failures = append(failures, err)
	}
	return found, fmt.Errorf("find Cloudflare's edge: %w", errors.Join(failures...))
}

func lookUp(ctx context.Context, resolver *net.Resolver, service string) ([regions][]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var found [regions][]netip.AddrPort
	_, records, err := resolver.LookupSRV(ctx, service, "tcp", edgeDomain)
	if err != nil {
		return found, err
	}
	total := 0
	for i, record := range records {
		addresses, err := resolver.LookupNetIP(ctx, "ip", record.Target)
		if err != nil {
			continue // the other region may be known
		}
		for _, address := range addresses {
			found[i%regions] = append(found[i%regions], netip.AddrPortFrom(address.Unmap(), record.Port))
			total++
		}
	}
	if total == 0 {
		return found, fmt.Errorf("no addresses for the records of _%s._tcp.%s", service, edgeDomain)
	}
	for i := range found {
		if found[i], err = routable(found[i]); err != nil {
			return found, err
		}
	}
	return found, nil
}

// routable are the addresses of one family, IPv4 if this machine has a route there: many
// have an IPv6 address that leads nowhere.
func routable(all []netip.AddrPort) ([]netip.AddrPort, error) {
	var v4, v6 []netip.AddrPort
	for _, address := range all {
		if address.Addr().Is4() {
			v4 = append(v4, address)
		} else {
			v6 = append(v6, address)
		}
	}
	if len(v4) == 0 || len(v6) == 0 {
		return slices.Concat(v4, v6), nil
	}
	if routed, err := hasRoute(v4[0]); !routed {
		return v6, err
	}
	return v4, nil
}

// hasRoute reports whether the machine would know where to send to. It sends nothing. The error is
// that it cannot be asked just now.
func hasRoute(address netip.AddrPort) (bool, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(address))
	if err == nil {
		return true, conn.Close()
	}
	for _, lack := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN} {
		if errors.Is(err, lack) {
			return false, fmt.Errorf("look for a route to %s: %w", address, err)
		}
	}
	return false, nil
}
