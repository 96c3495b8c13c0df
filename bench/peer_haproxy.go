package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

type haproxy struct{ firstProcess }

func (haproxy) Name() string { return "haproxy" }

func (haproxy) Program(context.Context, tools) (string, error) { return exec.LookPath("haproxy") }

func (haproxy) Version(ctx context.Context, program string) string {
	return saidVersion(ctx, program, "-v")
}

// haproxyMain adds X-Forwarded-For as its guides do, and shares connections to the
// upstream between all clients, also for their first request, as the others do.
const haproxyMain = `global
  nbthread 1
  maxconn %d
%sdefaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout tunnel 1h
%sfrontend web
  bind 127.0.0.1:%d%s
  %s
backend app
  server one %s%s
`

// haproxyConnections is for those of clients.
const haproxyConnections = 4096

// haproxyMany lets it start where it may not open twice as many files as it has
// clients: those here never wait for the upstream all at once.
const haproxyMany = "  no strict-limits\n"

func (haproxy) Configure(s Site) ([]string, error) {
	bind, server, choose, options := "", "", "default_backend app", ""
	if s.Size >= sizeMiB {
		// Half the CPU time of its default for these, and no gain below.
		options = "  option splice-response\n"
	}
	connections, limits := haproxyConnections, ""
	if s.Connections() > connections {
		connections, limits = openFiles(s.Case), haproxyMany
	}
	if s.Slow > 0 {
		options += fmt.Sprintf("  timeout http-request %ds\n", int(headTimeout.Seconds()))
	}
	if s.Encrypted() {
		bind = fmt.Sprintf(" ssl crt %s alpn h2,http/1.1 ssl-min-ver TLSv1.2", s.Certificate.BothFile)
	}
	if s.Protocol == GRPC {
		server = " proto h2"
	}
	if s.Hosts > 0 {
		var lines strings.Builder
		for i := range s.Hosts {
			fmt.Fprintf(&lines, hostPattern+" app\n", i)
		}
		path, err := s.write("hosts.map", lines.String())
		if err != nil {
			return nil, err
		}
		choose = fmt.Sprintf("use_backend %%[req.hdr(host),lower,map_str(%s)]", path)
	}
	path, err := s.write("haproxy.cfg", fmt.Sprintf(haproxyMain, connections, limits, options, s.Port, bind, choose, s.Upstream, server))
	if err != nil {
		return nil, err
	}
	return []string{"-db", "-f", path}, nil
}
