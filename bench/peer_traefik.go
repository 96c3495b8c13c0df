package main

import (
	"context"
	"fmt"
	"strings"
)

// traefikPath is its main package.
const traefikPath = "github.com/traefik/traefik/v3/cmd/traefik"

type traefik struct{ firstProcess }

func (traefik) Name() string { return "traefik" }

func (traefik) Program(ctx context.Context, _ tools) (string, error) {
	return buildPeer(ctx, "traefik", traefikPath)
}

func (traefik) Version(_ context.Context, program string) string {
	return builtVersion(program, traefikPath)
}

const traefikStatic = `global:
  checkNewVersion: false
  sendAnonymousUsage: false
log:
  level: ERROR
entryPoints:
  web:
    address: 127.0.0.1:%d
%sproviders:
  file:
    filename: %s
`

// traefikDynamic keeps as many idle connections to the upstream as nginx does here;
// its default is 200.
const traefikDynamic = `http:
  services:
    app:
      loadBalancer:
        serversTransport: app
        servers:
        - url: %s://%s
  serversTransports:
    app:
      maxIdleConnsPerHost: 512
  routers:
`

const traefikRouter = `    app-%d:
      entryPoints: [web]
      rule: %s
      service: app
%s`

const traefikTLS = `tls:
  certificates:
  - certFile: %[1]s
    keyFile: %[2]s
  stores:
    default:
      defaultCertificate:
        certFile: %[1]s
        keyFile: %[2]s
`

func (traefik) Configure(s Site) ([]string, error) {
	scheme, tls := "http", ""
	if s.Protocol == GRPC {
		scheme = "h2c"
	}
	if s.Encrypted() {
		tls = "      tls: {}\n"
	}
	timeouts := ""
	if s.Slow > 0 { // for a whole request; it has none for the head
		timeouts = fmt.Sprintf("    transport:\n      respondingTimeouts:\n        readTimeout: %ds\n", int(headTimeout.Seconds()))
	}
	var dynamic strings.Builder
	fmt.Fprintf(&dynamic, traefikDynamic, scheme, s.Upstream)
	if s.Hosts == 0 {
		fmt.Fprintf(&dynamic, traefikRouter, 0, "PathPrefix(`/`)", tls)
	}
	for i := range s.Hosts {
		fmt.Fprintf(&dynamic, traefikRouter, i, fmt.Sprintf("Host(`"+hostPattern+"`)", i), tls)
	}
	if s.Encrypted() {
		fmt.Fprintf(&dynamic, traefikTLS, s.Certificate.CertFile, s.Certificate.KeyFile)
	}
	routes, err := s.write("dynamic.yaml", dynamic.String())
	if err != nil {
		return nil, err
	}
	path, err := s.write("traefik.yaml", fmt.Sprintf(traefikStatic, s.Port, timeouts, routes))
	if err != nil {
		return nil, err
	}
	return []string{"--configFile=" + path}, nil
}
