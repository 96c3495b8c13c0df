package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

type nginx struct{}

func (nginx) Name() string { return "nginx" }

func (nginx) Program(context.Context, tools) (string, error) { return exec.LookPath("nginx") }

func (nginx) Version(ctx context.Context, program string) string {
	return saidVersion(ctx, program, "-v")
}

// Serving leaves the master out.
func (nginx) Serving(pids []int) []int { return pids[1:] }

// nginxMain is what its guide to reverse proxies shows, with connections to the
// upstream kept and none closed because it has served enough requests. Buffers are
// its defaults but for large bodies.
const nginxMain = `daemon off;
worker_processes 1;
worker_rlimit_nofile %[5]d;
pid %[1]s/nginx.pid;
error_log %[1]s/error.log warn;
events { worker_connections %[6]d; }
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server_names_hash_max_size 65536;
  keepalive_requests 1000000000;
%[4]s  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream app {
    server %[2]s;
    keepalive 512;
    keepalive_requests 1000000000;
  }
%[3]s}
`

// nginxConnections is for those of clients and to the upstream.
const nginxConnections = 8192

const nginxTLS = `  ssl_certificate %s;
  ssl_certificate_key %s;
  ssl_protocols TLSv1.2 TLSv1.3;
`

// nginxLarge is the fastest that was found for large bodies: the default buffers
// overflow into temporary files when clients are slower than the upstream, which
// doubles the CPU time, and without buffering it is slower too.
const nginxLarge = `  proxy_max_temp_file_size 0;
  proxy_buffer_size 64k;
  proxy_buffers 16 64k;
  proxy_busy_buffers_size 128k;
`

const nginxHTTP = `    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header Connection "";
    }
`

const nginxWebSocket = `    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }
`

const nginxGRPC = "    location / { grpc_pass grpc://app; }\n"

func (nginx) Configure(s Site) ([]string, error) {
	options, listen := "", fmt.Sprintf("127.0.0.1:%d", s.Port)
	if s.Encrypted() {
		options = fmt.Sprintf(nginxTLS, s.Certificate.CertFile, s.Certificate.KeyFile)
		listen += " ssl"
	}
	if s.Size >= sizeMiB {
		options += nginxLarge
	}
	if s.Slow > 0 {
		options += fmt.Sprintf("  client_header_timeout %ds;\n", int(headTimeout.Seconds()))
	}
	location := nginxHTTP
	switch s.Protocol {
	case HTTP2:
		listen += " http2"
	case GRPC:
		listen, location = listen+" http2", nginxGRPC
	case WebSocket:
		location = nginxWebSocket
	}
	var servers strings.Builder
	if s.Hosts == 0 {
		fmt.Fprintf(&servers, "  server {\n    listen %s reuseport;\n%s  }\n", listen, location)
	} else {
		fmt.Fprintf(&servers, "  server { listen %s reuseport default_server; return 404; }\n", listen)
	}
	for i := range s.Hosts {
		fmt.Fprintf(&servers, "  server {\n    listen %s;\n    server_name "+hostPattern+";\n%s  }\n", listen, i, location)
	}
	path, err := s.write("nginx.conf", fmt.Sprintf(nginxMain, s.Dir, s.Upstream, servers.String(), options, max(2*nginxConnections, openFiles(s.Case)), max(nginxConnections, openFiles(s.Case))))
	if err != nil {
		return nil, err
	}
	return []string{"-c", path, "-p", s.Dir, "-e", filepath.Join(s.Dir, "start.log")}, nil
}
