package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/lintel-dev/lintel/conformance/edge"
	processes "github.com/lintel-dev/lintel/conformance/process"
)

const (
	// tunnelUsers send requests at a time.
	tunnelUsers = 32
	tunnelBody  = 1 << 10 // bytes of a response
	// tunnelWarm is for the first requests, which are not counted.
	tunnelWarm = time.Second
)

// tunnelBench compares Lintel's own connector with cloudflared in front of Lintel, on one
// fake edge.
type tunnelBench struct {
	rounds   int
	duration time.Duration
	edge     *edge.Edge
	origin   *httptest.Server
	roots    string // path
	dir      string
	out      io.Writer

	lintel, cloudflared string // programs
}

// tunnelSide is one of the two ways from the edge to the origin.
type tunnelSide struct {
	name      string
	id        uuid.UUID
	processes []*process
	samples   []float64 // CPU µs of a request
	rates     []float64 // requests in a second
	resident  int       // KiB
}

func runTunnel(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench tunnel", flag.ExitOnError)
	lintelPath := flags.String("lintel", "bin/lintel", "the `program` to measure")
	rounds := flags.Int("rounds", defaultRounds, "how often each side is measured")
	seconds := flags.Float64("seconds", defaultSeconds, "how long one measurement takes")
	protocols := flags.String("protocols", "http2,quic", "comma-separated `names` of transports")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 || *seconds <= 0 {
		return errors.New("-rounds and -seconds have to be positive")
	}
	lintelProgram, err := lintel{program: *lintelPath}.Program(ctx, tools{})
	if err != nil {
		return err
	}
	cloudflared, err := buildPeer(ctx, "cloudflared", "github.com/cloudflare/cloudflared/cmd/cloudflared")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lintel-bench-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system clears its temporary files too
	release, err := alone(ctx, os.Stderr)
	if err != nil {
		return err
	}
	defer release()
	e, err := edge.Start(edge.Options{})
	if err != nil {
		return err
	}
	defer e.Close()
	body := strings.Repeat("0123456789abcdef", tunnelBody/16)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	defer origin.Close()
	b := &tunnelBench{
		rounds: *rounds, duration: time.Duration(*seconds * float64(time.Second)), edge: e, origin: origin,
		roots: filepath.Join(dir, "roots.pem"), lintel: lintelProgram, cloudflared: cloudflared, dir: dir, out: os.Stdout,
	}
	if err := os.WriteFile(b.roots, e.RootsPEM, 0o600); err != nil {
		return fmt.Errorf("write roots of the edge: %w", err)
	}
	for _, protocol := range splitNames(*protocols) {
		if err := b.compare(ctx, protocol); err != nil {
			return fmt.Errorf("%s: %w", protocol, err)
		}
	}
	return nil
}

// compare measures both sides in turn, and prints what one is of the other.
func (b *tunnelBench) compare(ctx context.Context, protocol string) error {
	var sides []*tunnelSide
	defer func() {
		for _, s := range sides {
			for _, p := range s.processes {
				p.stop()
			}
		}
	}()
	for _, start := range []func(context.Context, string, uuid.UUID) (*tunnelSide, error){b.startPair, b.startLintel} {
		side, err := start(ctx, protocol, uuid.New())
		sides = append(sides, side)
		if err != nil {
			return err
		}
		if err := b.ready(ctx, side); err != nil {
			return err
		}
	}
	for range b.rounds {
		for _, s := range sides {
			if err := b.measure(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	before, after := sides[0], sides[1]
	for _, s := range sides {
		fmt.Fprintf(b.out, "tunnel %-5s %-20s %6.1f CPU µs/request (%.1f–%.1f) %6.0f requests/s %6.1f MiB\n", protocol, s.name,
			median(s.samples), slices.Min(s.samples), slices.Max(s.samples), median(s.rates), float64(s.resident)/1024)
	}
	fmt.Fprintf(b.out, "tunnel %-5s ratio CPU %.2f RSS %.2f\n", protocol, median(after.samples)/median(before.samples),
		float64(after.resident)/float64(before.resident))
	return nil
}

// ready waits until all connections are registered, and all is done that follows a start.
func (b *tunnelBench) ready(ctx context.Context, s *tunnelSide) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := b.edge.Until(ctx, func() bool { return len(b.edge.Connections(s.id)) == len(b.edge.Addresses()) }); err != nil {
		return fmt.Errorf("connections of %s: %w: %s", s.name, err, s.processes[0].tail())
	}
	return b.load(ctx, s, tunnelWarm, new(atomic.Int64))
}

// measure takes one sample.
func (b *tunnelBench) measure(ctx context.Context, s *tunnelSide) error {
	var pids []int
	for _, p := range s.processes {
		tree, err := p.tree()
		if err != nil {
			return err
		}
		pids = append(pids, tree...)
	}
	before, err := cpuTime(pids)
	if err != nil {
		return err
	}
	var requests atomic.Int64
	start := time.Now()
	if err := b.load(ctx, s, b.duration, &requests); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := cpuTime(pids)
	if err != nil {
		return err
	}
	if s.resident, err = residentKiB(pids); err != nil {
		return err
	}
	count := float64(requests.Load())
	s.samples = append(s.samples, float64((after-before).Microseconds())/count)
	s.rates = append(s.rates, count/took.Seconds())
	return nil
}

// load sends requests by users of the edge, and checks what they get.
func (b *tunnelBench) load(ctx context.Context, s *tunnelSide, duration time.Duration, requests *atomic.Int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end := time.Now().Add(duration)
	client := &http.Client{Transport: b.edge.RoundTripper(s.id)}
	var users sync.WaitGroup
	for range tunnelUsers {
		users.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				if err := visit(ctx, client); err != nil {
					cancel(err)
					return
				}
				requests.Add(1)
			}
		})
	}
	users.Wait()
	return context.Cause(ctx)
}

func visit(ctx context.Context, client *http.Client) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://app.example.com/item?n=1", http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Accept-Language", "en-US,en;q=0.5")
	r.Header.Set("Accept-Encoding", "gzip, br")
	res, err := client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || len(body) != tunnelBody {
		return fmt.Errorf("%w: %s, %d bytes", errWrong, res.Status, len(body))
	}
	return nil
}

// startPair starts cloudflared, and Lintel behind it.
func (b *tunnelBench) startPair(ctx context.Context, protocol string, id uuid.UUID) (*tunnelSide, error) {
	s := &tunnelSide{name: "cloudflared + lintel", id: id}
	ports, err := processes.FreePorts(ctx, 3)
	if err != nil {
		return s, err
	}
	if err := b.startGateway(s, Site{Dir: filepath.Join(b.dir, "pair-"+protocol), Port: int(ports[0]), AdminPort: int(ports[1])}, nil); err != nil {
		return s, err
	}
	command := []string{b.cloudflared, "tunnel", "--no-autoupdate", "--no-prechecks", "--cacert", b.roots, "--protocol", protocol,
		"--metrics", fmt.Sprintf("127.0.0.1:%d", ports[2]), "--loglevel", "error"}
	for _, address := range b.edge.Addresses() {
		command = append(command, "--edge", address.String())
	}
	command = append(command, "run", "--token", b.edge.Allow(id), "--url", fmt.Sprintf("http://127.0.0.1:%d", ports[0]))
	connector, err := startProcess("cloudflared-"+protocol, b.dir, proxyCore, command)
	if err != nil {
		return s, err
	}
	s.processes = append(s.processes, connector)
	return s, nil
}

const tunnelManifest = `apiVersion: lintel.dev/v1alpha1
kind: Tunnel
metadata:
  name: home
spec:
  protocol: %s
  credentials:
    token:
      name: home
  edge:
    addresses: ["%s"]
    ca:
      name: edge
---
apiVersion: v1
kind: Secret
metadata:
  name: home
stringData:
  token: %s
---
apiVersion: v1
kind: Secret
metadata:
  name: edge
stringData:
  ca.crt: |
%s`

// startLintel starts Lintel with a tunnel of its own.
func (b *tunnelBench) startLintel(ctx context.Context, protocol string, id uuid.UUID) (*tunnelSide, error) {
	s := &tunnelSide{name: "lintel", id: id}
	ports, err := processes.FreePorts(ctx, 2)
	if err != nil {
		return s, err
	}
	var edges []string
	for _, address := range b.edge.Addresses() {
		edges = append(edges, address.String())
	}
	name := map[string]string{"http2": "HTTP2", "quic": "QUIC"}[protocol]
	site := Site{Dir: filepath.Join(b.dir, "lintel-"+protocol), Port: int(ports[0]), AdminPort: int(ports[1])}
	return s, b.startGateway(s, site, map[string]string{
		"tunnel.yaml": fmt.Sprintf(tunnelManifest, name, strings.Join(edges, `", "`), b.edge.Allow(id), indent(string(b.edge.RootsPEM))),
		"gateway.yaml": strings.Replace(fmt.Sprintf(lintelGateway, site.Port, "HTTP"), "spec:\n  gatewayClassName",
			"spec:\n  infrastructure:\n    parametersRef:\n      group: lintel.dev\n      kind: Tunnel\n      name: home\n  gatewayClassName", 1),
	})
}

// startGateway starts Lintel in front of the origin, with more manifests, which take the
// place of others with their names.
func (b *tunnelBench) startGateway(s *tunnelSide, site Site, more map[string]string) error {
	if err := os.MkdirAll(site.Dir, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	site.Upstream = b.origin.Listener.Addr().String()
	args, err := lintel{}.Configure(site)
	if err != nil {
		return err
	}
	for name, text := range more {
		if err := os.WriteFile(filepath.Join(site.Dir, "manifests", name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write manifests: %w", err)
		}
	}
	p, err := startProcess(filepath.Base(site.Dir), b.dir, proxyCore, append([]string{b.lintel}, args...))
	if err != nil {
		return err
	}
	s.processes = append(s.processes, p)
	return nil
}
