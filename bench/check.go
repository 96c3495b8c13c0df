package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	// checks is how many requests a check makes, before and after each measurement.
	checks = 100
	// checkTimeout is for one of them.
	checkTimeout = 10 * time.Second
)

// expectedBody is what the upstream answers: native/body.h says the same in C.
func expectedBody(size int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	body := make([]byte, size)
	for i := range body {
		body[i] = letters[(i*7+i/36+i/4096)%36]
	}
	return body
}

// checker is a client that has nothing in common with the load generators.
type checker struct {
	site      Site
	transport *http.Transport
	want      []byte
}

func newChecker(s Site) *checker {
	var protocols http.Protocols
	h2 := s.Protocol == HTTP2 || s.Protocol == GRPC
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	want := expectedBody(s.Size)
	if s.Protocol == GRPC {
		want = grpcMessage()
	}
	dialer := &net.Dialer{Timeout: checkTimeout}
	return &checker{site: s, want: want, transport: &http.Transport{
		Protocols: &protocols, DisableCompression: true, DisableKeepAlives: s.Protocol == Handshake,
		TLSClientConfig: &tls.Config{RootCAs: s.Certificate.Pool, ServerName: siteHost, MinVersion: tls.VersionTLS13},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
		},
	}}
}

// close gives up its connections.
func (c *checker) close() { c.transport.CloseIdleConnections() }

// all makes checks requests, or sends as many messages, one after the other, and
// returns what was wrong with the first wrong answer.
func (c *checker) all(ctx context.Context) error {
	defer c.close()
	if c.site.Protocol == WebSocket {
		return checkWebSocket(ctx, c.site, checks)
	}
	for i := range checks {
		if err := c.one(ctx, i); err != nil {
			return fmt.Errorf("check %d: %w", i, err)
		}
	}
	if c.site.Hosts > 0 {
		return c.unknownHost(ctx)
	}
	return nil
}

// first makes one request, to learn whether a proxy serves yet.
func (c *checker) first(ctx context.Context) error {
	if c.site.Protocol == WebSocket {
		return checkWebSocket(ctx, c.site, 1)
	}
	defer c.close()
	return c.one(ctx, 0)
}

func (c *checker) one(ctx context.Context, i int) error {
	host := siteHost
	if c.site.Hosts > 0 {
		const stride = 1009 // a prime: checks reach all parts of the list
		host = fmt.Sprintf(hostPattern, i*stride%c.site.Hosts)
	}
	id := fmt.Sprintf("check-%d", i)
	got, err := c.exchange(ctx, host, id)
	if err != nil {
		return err
	}
	wantMajor := 1
	if c.site.Protocol == HTTP2 || c.site.Protocol == GRPC {
		wantMajor = 2
	}
	switch {
	case got.status != http.StatusOK:
		return fmt.Errorf("status %d: %.100q", got.status, got.body)
	case got.major != wantMajor:
		return fmt.Errorf("answered by HTTP/%d", got.major)
	case !bytes.Equal(got.body, c.want):
		return fmt.Errorf("a body of %d bytes instead of %d, or others", len(got.body), len(c.want))
	case got.id != id:
		return fmt.Errorf("answer to request %q instead of %q", got.id, id)
	case c.site.Encrypted() && got.tls != tls.VersionTLS13:
		return errors.New("not TLS 1.3")
	case c.site.Protocol == GRPC && got.grpcStatus != "0":
		return fmt.Errorf("trailer grpc-status is %q", got.grpcStatus)
	}
	return nil
}

// unknownHost makes sure that hostnames matter.
func (c *checker) unknownHost(ctx context.Context) error {
	got, err := c.exchange(ctx, "nobody.bench.example", "check-unknown")
	if err != nil {
		return fmt.Errorf("check unknown host: %w", err)
	}
	if got.id != "" {
		return fmt.Errorf("an unknown host was served: status %d", got.status)
	}
	return nil
}

// answer is what a response says.
type answer struct {
	status, major  int
	tls            uint16 // version; 0: none
	id, grpcStatus string // fields X-Request and grpc-status, a trailer
	body           []byte
}

func (c *checker) exchange(ctx context.Context, host, id string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	scheme, method := "http", http.MethodGet
	var content io.Reader = http.NoBody
	if c.site.Encrypted() {
		scheme = "https"
	}
	if c.site.Protocol == GRPC {
		method, content = http.MethodPost, bytes.NewReader(grpcMessage())
	}
	request, err := http.NewRequestWithContext(ctx, method, scheme+"://"+host+c.site.Path, content)
	if err != nil {
		return answer{}, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("X-Request", id)
	if c.site.Protocol == GRPC {
		request.Header.Set("Content-Type", "application/grpc")
		request.Header.Set("Te", "trailers")
	}
	response, err := c.transport.RoundTrip(request)
	if err != nil {
		return answer{}, fmt.Errorf("exchange: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, fmt.Errorf("read body: %w", err)
	}
	got := answer{
		status: response.StatusCode, major: response.ProtoMajor, body: body,
		id: response.Header.Get("X-Request"), grpcStatus: response.Trailer.Get("Grpc-Status"),
	}
	if response.TLS != nil {
		got.tls = response.TLS.Version
	}
	return got, nil
}
