package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"sigs.k8s.io/gateway-api/pkg/features"

	"github.com/lintel-dev/lintel/conformance/edge"
)

// edgeCommand makes this program a fake of Cloudflare's edge, in the machine.
const edgeCommand = "edge"

// The files of its folder: what Lintel has to know to connect, and the socket at which the
// suite gets a tunnel for each of its Gateways. Requests for a tunnel are taken by the socket
// that its id names.
const (
	edgeRoots     = "roots.pem"
	edgeAddresses = "addresses"
	edgeControl   = "control.sock"
)

// edgeFeatures are those that are tested through an edge: the core.
func edgeFeatures() []string {
	return []string{string(features.SupportGateway), string(features.SupportHTTPRoute), string(features.SupportReferenceGrant)}
}

// pastEdge are tests that can't go through an edge: they are about TLS between client and
// Gateway, which ends at the edge.
func pastEdge() []string {
	return []string{"HTTPRouteHTTPSListener"}
}

// bridge takes requests at sockets of a folder, and sends them through tunnels.
type bridge struct {
	edge *edge.Edge
	dir  string

	mu      sync.Mutex        // guards what follows
	tokens  map[string]string // by Gateway
	servers []*http.Server
}

// runEdge serves until its input or ctx ends.
func runEdge(ctx context.Context, dir string, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, in)
	}()
	e, err := edge.Start(edge.Options{})
	if err != nil {
		return err
	}
	defer e.Close()
	var addresses []string
	for _, a := range e.Addresses() {
		addresses = append(addresses, a.String())
	}
	b := &bridge{edge: e, dir: dir, tokens: map[string]string{}}
	defer b.close()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, edgeRoots), e.RootsPEM, 0o600),
		os.WriteFile(filepath.Join(dir, edgeAddresses), []byte(strings.Join(addresses, ",")), 0o600),
		b.serve(edgeControl, http.HandlerFunc(b.allow))); err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	<-ctx.Done()
	return nil
}

// serve serves at a socket of the folder.
func (b *bridge) serve(name string, handler http.Handler) error {
	listener, err := net.Listen("unix", filepath.Join(b.dir, name))
	if err != nil {
		return fmt.Errorf("serve edge: %w", err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	b.servers = append(b.servers, server)
	go func() { _ = server.Serve(listener) }() // until close
	return nil
}

func (b *bridge) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.servers {
		_ = s.Close()
	}
}

// allow answers with the token of a Gateway's tunnel.
func (b *bridge) allow(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	gateway := r.URL.Query().Get("gateway")
	token, known := b.tokens[gateway]
	if !known {
		id := uuid.New()
		token = b.edge.Allow(id)
		if err := b.serve(id.String()+".sock", b.user(id)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		b.tokens[gateway] = token
	}
	_, _ = io.WriteString(w, token)
}

// user sends requests through a tunnel as a user does who speaks http.
func (b *bridge) user(tunnel uuid.UUID) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "https", "edge", r.In.Host
			r.Out.Header.Set("X-Forwarded-Proto", "http")
		},
		Transport: b.edge.RoundTripper(tunnel), FlushInterval: -1,
	}
}

// startEdge starts the fake in the machine, and returns its folder and what ends it.
func (c *cluster) startEdge(ctx context.Context) (dir string, stop func() error, err error) {
	program, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("start edge: %w", err)
	}
	if dir, err = os.MkdirTemp("", "edge-"); err != nil {
		return "", nil, fmt.Errorf("start edge: %w", err)
	}
	cmd := c.command(context.WithoutCancel(ctx), program, edgeCommand, dir)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return "", nil, fmt.Errorf("start edge: %w", err)
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait(), os.RemoveAll(dir)) }
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return "", nil, fmt.Errorf("start edge: %w", errors.Join(err, stop()))
	}
	return dir, stop, nil
}
