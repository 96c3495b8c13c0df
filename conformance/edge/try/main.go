// Command try runs the FAKE of Cloudflare's edge, so that a Tunnel can be tried without an
// account: it writes a Tunnel and its Secrets into a folder of manifests, and serves a port
// whose requests come through the tunnel as those of an end user do. Nothing leaves the
// machine.
//
//	go run ./conformance/edge/try -folder DIR -listen 127.0.0.1:7080
package main

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/lintel-dev/lintel/conformance/edge"
)

func main() {
	log.SetFlags(0)
	folder := flag.String("folder", "", "`folder` that tunnel.yaml is written into")
	listen := flag.String("listen", "127.0.0.1:7080", "`address` of the internet's side")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *folder, *listen); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, folder, listen string) error {
	e, err := edge.Start(edge.Options{})
	if err != nil {
		return err
	}
	defer e.Close()
	tunnel := uuid.New()
	if err := os.WriteFile(filepath.Join(folder, "tunnel.yaml"), []byte(manifests(e, tunnel)), 0o600); err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Transport: e.RoundTripper(tunnel),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: r.In.Host})
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	server := &http.Server{Addr: listen, Handler: proxy, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	log.Printf("wrote %s; requests to http://%s come through the tunnel", filepath.Join(folder, "tunnel.yaml"), listen)
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

// manifests are the Tunnel, and what it names.
func manifests(e *edge.Edge, tunnel uuid.UUID) string {
	var addresses []string
	for _, a := range e.Addresses() {
		addresses = append(addresses, `"`+a.String()+`"`)
	}
	return fmt.Sprintf(`apiVersion: lintel.dev/v1alpha1
kind: Tunnel
metadata:
  name: home
spec:
  credentials:
    token: {name: home-tunnel}
  edge:
    addresses: [%s]
    ca: {name: fake-edge}
---
apiVersion: v1
kind: Secret
metadata:
  name: home-tunnel
stringData:
  token: %s
---
apiVersion: v1
kind: Secret
metadata:
  name: fake-edge
data:
  ca.crt: %s
`, strings.Join(addresses, ", "), e.Allow(tunnel), base64.StdEncoding.EncodeToString(e.RootsPEM))
}
