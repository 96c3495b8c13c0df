package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const lintelName = "lintel"

type lintel struct {
	firstProcess
	program string // as given by -lintel
}

func (lintel) Name() string { return lintelName }

func (l lintel) Program(context.Context, tools) (string, error) {
	path, err := filepath.Abs(l.program)
	if err != nil {
		return "", fmt.Errorf("find lintel: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find lintel: %w; make build makes it", err)
	}
	return path, nil
}

func (lintel) Version(ctx context.Context, program string) string {
	return saidVersion(ctx, program, "version")
}

const lintelGateway = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: lintel
spec:
  controllerName: lintel.dev/gateway-controller
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: web
spec:
  gatewayClassName: lintel
  listeners:
  - name: web
    port: %d
    protocol: %s
`

const lintelTLS = `    tls:
      certificateRefs:
      - name: certificate
---
apiVersion: v1
kind: Secret
metadata:
  name: certificate
type: kubernetes.io/tls
stringData:
  tls.crt: |
%s  tls.key: |
%s`

const lintelRoute = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: app-%d
spec:
  parentRefs:
  - name: web
%s  rules:
  - backendRefs:
    - name: app
      port: 80
`

const lintelService = `apiVersion: v1
kind: Service
metadata:
  name: app
spec:
  ports:
  - name: http
    port: 80
%s---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: app-1
  labels:
    kubernetes.io/service-name: app
addressType: IPv4
ports:
- name: http
  port: %s
endpoints:
- addresses:
  - %s
`

// Configure writes a folder of manifests, as a user would.
func (lintel) Configure(s Site) ([]string, error) {
	dir := filepath.Join(s.Dir, "manifests")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	address, port, _ := strings.Cut(s.Upstream, ":")
	protocol, tls, appProtocol := "HTTP", "", ""
	if s.Encrypted() {
		protocol, tls = "HTTPS", fmt.Sprintf(lintelTLS, indent(s.Certificate.Cert), indent(s.Certificate.Key))
	}
	switch s.Protocol {
	case GRPC:
		appProtocol = "    appProtocol: kubernetes.io/h2c\n"
	case WebSocket:
		appProtocol = "    appProtocol: kubernetes.io/ws\n"
	}
	files := map[string]string{
		"gateway.yaml": fmt.Sprintf(lintelGateway, s.Port, protocol) + tls,
		"service.yaml": fmt.Sprintf(lintelService, appProtocol, port, address),
		"routes.yaml":  lintelRoutes(s.Hosts),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("write manifests: %w", err)
		}
	}
	return []string{"run", "--manifests", dir, "--http-port", "0", "--https-port", "0", "--access-log", "off",
		"--admin-address", "127.0.0.1:" + strconv.Itoa(s.AdminPort)}, nil
}

func lintelRoutes(hosts int) string {
	if hosts == 0 {
		return fmt.Sprintf(lintelRoute, 0, "")
	}
	var routes strings.Builder
	for i := range hosts {
		fmt.Fprintf(&routes, lintelRoute, i, fmt.Sprintf("  hostnames:\n  - "+hostPattern+"\n", i))
	}
	return routes.String()
}

// indent makes a PEM text a block of a YAML file.
func indent(pem string) string {
	var out strings.Builder
	for line := range strings.Lines(pem) {
		out.WriteString("    " + line)
	}
	return out.String()
}
