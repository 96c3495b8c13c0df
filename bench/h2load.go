package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// Of what h2load prints at its end.
var (
	h2loadFinished = regexp.MustCompile(`(?m)^finished in ([0-9.]+)(us|ms|s|m|h),`)
	h2loadRequests = regexp.MustCompile(`(?m)^requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2loadStatus   = regexp.MustCompile(`(?m)^status codes: (\d+) 2xx,`)
	h2loadTraffic  = regexp.MustCompile(`(?m)^traffic: .*, [0-9.A-Z]+ \((\d+)\) data`)
)

// runH2Load first finds the rate and warms up, and then sends as many requests as
// fit into the duration: a fixed number, so that each one is answered and counted.
// Opening the connections is part of the measurement.
func runH2Load(ctx context.Context, r loadRun) (sample, error) {
	const first = 4096
	warm, err := h2load(ctx, r, first)
	if err != nil {
		return sample{}, err
	}
	n := max(first, int(warm.rate()*r.duration.Seconds()))
	before, err := cpuTime(r.pids)
	if err != nil {
		return sample{}, err
	}
	s, err := h2load(ctx, r, n)
	if err != nil {
		return sample{}, err
	}
	after, err := cpuTime(r.pids)
	if err != nil {
		return sample{}, err
	}
	s.cpu, s.requests = after-before, s.requests+warm.requests
	return s, nil
}

func h2load(ctx context.Context, r loadRun, n int) (sample, error) {
	command := []string{
		"h2load", "-t", "1", "-n", strconv.Itoa(n), "-c", strconv.Itoa(r.Conns), "-m", strconv.Itoa(r.Streams),
		// As native/load.c: the same work for each server.
		"--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519", "--npn-list=h2",
		"--connect-to=127.0.0.1:" + strconv.Itoa(r.port), "-H", "x-request: load",
	}
	size := r.Size
	if r.Protocol == GRPC {
		path := filepath.Join(r.scratch, "request.grpc")
		if err := os.WriteFile(path, grpcMessage(), 0o600); err != nil {
			return sample{}, fmt.Errorf("write request: %w", err)
		}
		command = append(command, "-d", path, "-H", "content-type: application/grpc", "-H", "te: trailers")
		size = len(grpcMessage())
	}
	out, err := output(ctx, append(command, fmt.Sprintf("https://%s:%d%s", siteHost, r.port, r.Path)))
	if ctx.Err() != nil {
		return sample{}, ctx.Err()
	}
	if err != nil {
		return sample{}, fmt.Errorf("%w: %w", errBadAnswers, err)
	}
	return parseH2Load(out, n, size)
}

// parseH2Load reads what h2load says of n requests, each answered by a body of size
// bytes.
func parseH2Load(out []byte, n, size int) (sample, error) {
	finished, requests := h2loadFinished.FindSubmatch(out), h2loadRequests.FindSubmatch(out)
	status, traffic := h2loadStatus.FindSubmatch(out), h2loadTraffic.FindSubmatch(out)
	if finished == nil || requests == nil || status == nil || traffic == nil {
		return sample{}, fmt.Errorf("%w: h2load has no summary: %s", errBadAnswers, out)
	}
	wall, err := time.ParseDuration(string(finished[1]) + string(finished[2]))
	if err != nil {
		return sample{}, fmt.Errorf("read summary of h2load: %w", err)
	}
	want := strconv.Itoa(n)
	good := string(requests[1]) == want && string(requests[2]) == want && string(requests[3]) == want && string(status[1]) == want
	if !good {
		return sample{}, fmt.Errorf("%w: %s; %s", errBadAnswers, requests[0], status[0])
	}
	if string(traffic[1]) != strconv.Itoa(n*size) {
		return sample{}, fmt.Errorf("%w: %s bytes for %d answers of %d", errBadAnswers, traffic[1], n, size)
	}
	return sample{requests: n, measured: n, wall: wall}, nil
}
