package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// probeCommand makes this program a prober, in the machine.
const probeCommand = "probe"

const (
	// probeInterval is that of each of the probers, of which there are as many with a new
	// connection for each request as with kept ones.
	probeInterval = 10 * time.Millisecond
	probersOfKind = 2
	probeTimeout  = 5 * time.Second
	// maxFailures bounds those that are told of.
	maxFailures = 20
)

// probes are what became of requests.
type probes struct {
	Sent     int           `json:"sent"`
	Failed   int           `json:"failed"`
	Retried  int           `json:"retried"` // over another connection, as the kept one was closed just then
	Slowest  time.Duration `json:"slowest"`
	Failures []string      `json:"failures"`

	mu sync.Mutex
}

// probe requests a URL until its input or ctx ends, and then writes what became of it.
func probe(ctx context.Context, url string, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, in)
	}()
	var p probes
	var running sync.WaitGroup
	for i := range 2 * probersOfKind {
		client := &http.Client{
			Transport: &http.Transport{DisableKeepAlives: i%2 == 0},
			Timeout:   probeTimeout,
		}
		running.Go(func() { p.repeat(ctx, client, url) })
	}
	running.Wait()
	if err := json.NewEncoder(out).Encode(&p); err != nil {
		return fmt.Errorf("write probes: %w", err)
	}
	return nil
}

func (p *probes) repeat(ctx context.Context, client *http.Client, url string) {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.send(client, url)
		}
	}
}

// send sends one request. net/http repeats a GET whose kept connection turns out to be
// closed, as every client has to (RFC 9112 §9.3.1).
func (p *probes) send(client *http.Client, url string) {
	connections := 0
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connections++ }}
	start := time.Now()
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodGet, url, nil)
	if err == nil {
		err = exchange(client, request)
	}
	took := time.Since(start)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Sent++
	p.Slowest = max(p.Slowest, took)
	if connections > 1 {
		p.Retried++
	}
	if err == nil {
		return
	}
	if p.Failed++; len(p.Failures) < maxFailures {
		p.Failures = append(p.Failures, fmt.Sprintf("%s after %v: %v", start.UTC().Format("15:04:05.000"), took.Round(time.Millisecond), err))
	}
}

func exchange(client *http.Client, request *http.Request) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

// failure is an error if a probe failed, or too few were sent to say anything.
func (p *probes) failure() error {
	const enough = 100
	if p.Failed > 0 {
		return fmt.Errorf("%d of %d probes failed:\n  %s", p.Failed, p.Sent, joinLines(p.Failures))
	}
	if p.Sent < enough {
		return fmt.Errorf("only %d probes were sent", p.Sent)
	}
	return nil
}

func (p *probes) String() string {
	return fmt.Sprintf("%d probes, %d failed, %d of kept connections repeated over another, the slowest took %v",
		p.Sent, p.Failed, p.Retried, p.Slowest.Round(time.Millisecond))
}
