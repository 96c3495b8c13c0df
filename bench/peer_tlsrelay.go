package main

import (
	"context"
	"os"
	"strconv"
)

// tlsRelayPeer is what relay is, for clients that speak TLS: a subcommand of this program (tlsrelay.go).
// It runs only when it is named.
type tlsRelayPeer struct{ firstProcess }

func (tlsRelayPeer) Name() string { return "tlsrelay" }

func (tlsRelayPeer) Program(context.Context, tools) (string, error) { return os.Executable() }

func (tlsRelayPeer) Version(context.Context, string) string { return "of tlsrelay.go" }

func (p tlsRelayPeer) Configure(s Site) ([]string, error) {
	if s.Protocol != TLS && s.Protocol != Handshake || s.Idle || s.Slow > 0 {
		return nil, unsupported("relays requests over TLS only")
	}
	return []string{p.Name(), strconv.Itoa(s.Port), s.Certificate.CertFile, s.Certificate.KeyFile, s.Upstream}, nil
}
