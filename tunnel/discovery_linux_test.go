package tunnel_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"github.com/lintel-dev/lintel/internal/filelimit"
	"github.com/lintel-dev/lintel/tunnel"
)

// pipes returns who asks z without files.
func (z *zone) pipes() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asker, server := net.Pipe()
		go func() {
			conn := &dns.Conn{Conn: server}
			defer conn.Close()
			for {
				query, err := conn.ReadMsg()
				if err != nil {
					return
				}
				z.ServeDNS(pipeAnswer{conn: conn}, query)
			}
		}()
		return asker, nil
	}}
}

// pipeAnswer writes to a pipe what answers a query.
type pipeAnswer struct {
	dns.ResponseWriter
	conn *dns.Conn
}

// WriteMsg implements dns.ResponseWriter.
func (a pipeAnswer) WriteMsg(answer *dns.Msg) error { return a.conn.WriteMsg(answer) }

// A machine that cannot be asked for a route, as the process has too many files open, is not one
// without IPv4: its IPv6 may lead nowhere.
func TestTooManyOpenFilesAreNoMissingRoute(t *testing.T) {
	both := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")}
	z := &zone{service: "v2-origintunneld", port: 7844, regions: [2][]netip.Addr{both, both}}
	e := tunnel.Edge{Resolvers: []*net.Resolver{z.pipes()}}
	belowLimit := filelimit.Reach(t)
	if found, err := e.Find(t.Context(), ""); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("with too many open files %v are found, %v", found, err)
	}
	belowLimit()
	found, err := e.Find(t.Context(), "")
	if err != nil || len(found) != 2 || !found[0].Addr().Is4() || !found[1].Addr().Is4() {
		t.Errorf("%v are found, %v", found, err)
	}
}
