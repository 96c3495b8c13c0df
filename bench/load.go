package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// loadRun is one measurement to make.
type loadRun struct {
	Case
	port     int
	pids     []int // whose CPU time is measured
	warmup   time.Duration
	duration time.Duration // of the measurement
	rate     float64       // requests per second; 0: as many as get answered
	scratch  string        // a folder for files
}

// sample is what one measurement found.
type sample struct {
	connects int           // connections that were opened; 0: not counted
	requests int           // answered, with those of the warm-up
	measured int           // answered while CPU time was measured
	unsent   int           // due in time, but all connections were waiting for answers
	wall     time.Duration // of the measurement
	cpu      time.Duration // of the proxy meanwhile
	p50, p99 time.Duration // 0: not measured
	steady   time.Duration // the median of the p99 of each tenth of a second; 0: not measured
}

// perRequest returns the CPU time of the proxy for one request.
func (s sample) perRequest() time.Duration { return s.cpu / time.Duration(max(1, s.measured)) }

// rate returns answers per second.
func (s sample) rate() float64 { return float64(s.measured) / s.wall.Seconds() }

// busy returns which part of its core the proxy used.
func (s sample) busy() float64 { return s.cpu.Seconds() / s.wall.Seconds() }

// unsentPart returns which part of what was due was never sent.
func (s sample) unsentPart() float64 { return float64(s.unsent) / float64(max(1, s.measured+s.unsent)) }

// usualWarmup gives pools time to fill, heaps to grow and timers to settle.
const usualWarmup = 700 * time.Millisecond

// errBadAnswers is what a load generator found.
var errBadAnswers = errors.New("wrong answers")

// runLoad makes a measurement with the program that suits the protocol. Its error
// wraps errBadAnswers when the proxy is to blame.
func runLoad(ctx context.Context, t tools, r loadRun) (sample, error) {
	if r.Protocol == HTTP2 || r.Protocol == GRPC {
		return runH2Load(ctx, r)
	}
	out, err := output(ctx, append([]string{t.load}, loadArguments(r)...))
	if ctx.Err() != nil {
		return sample{}, ctx.Err()
	}
	if err != nil {
		return sample{}, fmt.Errorf("%w: %w", errBadAnswers, err)
	}
	return parseLoad(out, r.Size)
}

// loadArguments returns those of native/load.c.
func loadArguments(r loadRun) []string {
	modes := map[Protocol]string{HTTP1: "http", TLS: "tls", Handshake: "handshake", WebSocket: "websocket"}
	host, hosts := siteHost, 1
	if r.Hosts > 0 {
		host, hosts = strings.Replace(hostPattern, "%d", "%u", 1), r.Hosts
	}
	var pids []string
	for _, pid := range r.pids {
		pids = append(pids, strconv.Itoa(pid))
	}
	return []string{
		fmt.Sprintf("port=%d", r.port), "path=" + r.Path, fmt.Sprintf("size=%d", r.Size), "host=" + host,
		fmt.Sprintf("hosts=%d", hosts), "mode=" + modes[r.Protocol], fmt.Sprintf("conns=%d", r.Conns), fmt.Sprintf("rate=%.3f", r.rate),
		fmt.Sprintf("warmup=%.3f", r.warmup.Seconds()), fmt.Sprintf("time=%.3f", r.duration.Seconds()), "pids=" + strings.Join(pids, ","),
	}
}

// parseLoad reads the summary of native/load.c.
func parseLoad(out []byte, size int) (sample, error) {
	values, err := parseSummary(out, "requests", "measured", "errors", "unsent", "bytes", "connects", "seconds", "cpu_seconds", "p50_us", "p99_us", "p99_steady_us")
	if err != nil {
		return sample{}, fmt.Errorf("read summary of load: %w", err)
	}
	s := sample{
		connects: int(values["connects"]), requests: int(values["requests"]), measured: int(values["measured"]), unsent: int(values["unsent"]),
		wall: seconds(values["seconds"]), cpu: seconds(values["cpu_seconds"]),
		p50: seconds(values["p50_us"] / 1e6), p99: seconds(values["p99_us"] / 1e6), steady: seconds(values["p99_steady_us"] / 1e6),
	}
	switch {
	case values["errors"] != 0:
		return sample{}, fmt.Errorf("%w: %.0f errors", errBadAnswers, values["errors"])
	case s.measured == 0:
		return sample{}, fmt.Errorf("%w: none came", errBadAnswers)
	case int(values["bytes"]) != s.measured*size:
		return sample{}, fmt.Errorf("%w: %.0f bytes for %d answers of %d", errBadAnswers, values["bytes"], s.measured, size)
	}
	return s, nil
}

// parseSummary reads lines of a key and a value, and makes sure that some are there.
func parseSummary(out []byte, keys ...string) (map[string]float64, error) {
	values := map[string]float64{}
	for line := range bytes.Lines(out) {
		key, text, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		value, err := strconv.ParseFloat(text, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("line %q", line)
		}
		values[key] = value
	}
	for _, key := range keys {
		if _, ok := values[key]; !ok {
			return nil, fmt.Errorf("no %s", key)
		}
	}
	return values, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
