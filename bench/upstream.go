package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	processes "github.com/lintel-dev/lintel/conformance/process"
)

// startPatience is how long a program gets until it serves; 5,000 routes take the
// slowest some seconds.
const startPatience = 60 * time.Second

// upstream is what the proxies send requests to. It counts those that it answered.
type upstream struct {
	*process
	address string // host:port
	client  *http.Client
}

// startUpstream starts the upstream that suits the protocol, on the core of the load.
func startUpstream(ctx context.Context, t tools, dir string, protocol Protocol) (*upstream, error) {
	ports, err := processes.FreePorts(ctx, 1)
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(int(ports[0]))
	program, client := t.upstream, http.DefaultClient
	if protocol == GRPC {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		program, client = t.upstreamH2, &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	}
	p, err := startProcess("upstream", dir, loadCore, []string{program, port})
	if err != nil {
		return nil, err
	}
	u := &upstream{process: p, address: net.JoinHostPort("127.0.0.1", port), client: client}
	if err := p.await(ctx, func(ctx context.Context) error { _, err := u.served(ctx); return err }); err != nil {
		p.stop()
		return nil, err
	}
	return u, nil
}

// served returns how many requests, or WebSocket messages, it has answered.
func (u *upstream) served(ctx context.Context) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.address+"/count", http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("ask upstream: %w", err)
	}
	response, err := u.client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask upstream: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, fmt.Errorf("ask upstream: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// await tries until it works, the process has ended, or patience has.
func (p *process) await(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try(ctx)
		switch {
		case err == nil:
			return nil
		case p.ended():
			return fmt.Errorf("%s has ended: %s", p.name, p.tail())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %s", p.name, err, p.tail())
		case <-p.done:
		case <-tick.C:
		}
	}
}
