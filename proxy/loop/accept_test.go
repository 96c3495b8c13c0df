//go:build linux

package loop

import (
	"testing"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/tls13"
	"github.com/lintel-dev/lintel/router"
)

// A connection that nothing has come on needs no buffer, and what it is greeted with goes
// out at once.
func TestNewConnectionHoldsNoBuffer(t *testing.T) {
	for name, comes := range map[string]Incoming{
		"TLS":    {Session: new(tls13.Session)},
		"HTTP/2": {HTTP2: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClocked(t, exchange.Settings{}, router.NewBackend("default/app:80"))
			c.comes = comes
			c.dial()
			c.l.flush()
			for _, conn := range c.l.conns {
				if conn == nil {
					continue
				}
				if conn.waiting != nil || conn.secure != nil && conn.secure.sealed != nil {
					t.Error("it holds a buffer")
				}
				conn.secure = nil // this Session has no keys to say goodbye with
			}
			if n := c.l.pieces.kept; n > 0 {
				t.Errorf("%d bytes of buffers were needed", n)
			}
		})
	}
}
