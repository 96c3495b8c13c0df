package main

import (
	"context"
	"fmt"
	"strings"
)

// caddyPath is its main package.
const caddyPath = "github.com/caddyserver/caddy/v2/cmd/caddy"

type caddy struct{ firstProcess }

func (caddy) Name() string { return "caddy" }

func (caddy) Program(ctx context.Context, _ tools) (string, error) {
	return buildPeer(ctx, "caddy", caddyPath)
}

func (caddy) Version(_ context.Context, program string) string {
	return builtVersion(program, caddyPath)
}

// caddyGlobal turns off what would reach out of this machine or write into the
// user's home, and HTTP/3, which nobody here asks for.
const caddyGlobal = `{
	admin off
	auto_https off
	persist_config off
	storage file_system %s
	servers {
		protocols h1 h2
%s	}
	log {
		level ERROR
	}
}
`

// caddySite keeps as many idle connections to the upstream as nginx does here; its
// default is 32.
const caddySite = `%s {
	bind 127.0.0.1
%s	reverse_proxy %s {
		transport http {
			keepalive_idle_conns_per_host 512
%s		}
	}
}
`

func (caddy) Configure(s Site) ([]string, error) {
	address, tls, versions := fmt.Sprintf("http://:%d", s.Port), "", ""
	if s.Encrypted() {
		address = fmt.Sprintf("https://%s:%d", siteHost, s.Port)
		tls = fmt.Sprintf("\ttls %s %s\n", s.Certificate.CertFile, s.Certificate.KeyFile)
	}
	if s.Protocol == GRPC {
		versions = "\t\t\tversions h2c\n"
	}
	timeouts := ""
	if s.Slow > 0 {
		timeouts = fmt.Sprintf("\t\ttimeouts {\n\t\t\tread_header %ds\n\t\t}\n", int(headTimeout.Seconds()))
	}
	var file strings.Builder
	fmt.Fprintf(&file, caddyGlobal, s.Dir, timeouts)
	if s.Hosts == 0 {
		fmt.Fprintf(&file, caddySite, address, tls, s.Upstream, versions)
	}
	for i := range s.Hosts {
		fmt.Fprintf(&file, caddySite, fmt.Sprintf("http://"+hostPattern+":%d", i, s.Port), tls, s.Upstream, versions)
	}
	path, err := s.write("Caddyfile", file.String())
	if err != nil {
		return nil, err
	}
	return []string{"run", "--config", path, "--adapter", "caddyfile"}, nil
}
