package main

import (
	"context"
	"net"
	"strconv"
)

// relay is no proxy, but the least that can be done in one's place: native/relay.c. It runs
// only when it is named.
type relay struct{ firstProcess }

func (relay) Name() string { return "relay" }

func (relay) Program(_ context.Context, built tools) (string, error) { return built.relay, nil }

func (relay) Version(context.Context, string) string { return "of native/relay.c" }

func (relay) Configure(s Site) ([]string, error) {
	if s.Encrypted() {
		return nil, unsupported("relays plain connections only")
	}
	if s.Hosts > 0 {
		return nil, unsupported("has no routes")
	}
	if s.Idle || s.Slow > 0 {
		return nil, unsupported("keeps a connection to the upstream for each client")
	}
	_, port, err := net.SplitHostPort(s.Upstream)
	return []string{strconv.Itoa(s.Port), port}, err
}
