package main

import (
	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/proxy/h1"
)

// The one setting that the configuration file itself can't hold.
const (
	configName  = "config"
	configUsage = "`file` of settings in YAML; its keys are the flags' names in camelCase"
)

// What less of makes no sense: it would refuse every request.
const (
	minHeaderBytes = 1 << 10
	minMemory      = 16 << 20 // about what Lintel takes without a client
)

// maxRecords is about a gigabyte of them, which nobody means.
const maxRecords = 1 << 20

// setting is one row of the table that flags, environment variables, the
// configuration file and docs/configuration.md are made from.
type setting struct {
	group string // heading in the documentation
	name  string // of the flag
	usage string // one sentence without full stop; `quotes` name the value
	value settingValue
}

// settingsTable returns the rows in the order of the documentation. Making it
// puts the defaults into s.
func settingsTable(s *Settings) []setting {
	var rows []setting
	for _, group := range []struct {
		name string
		rows []setting
	}{
		{"Objects", objectSettings(s)},
		{"Addresses and ports", addressSettings(s)},
		{"Certificates", certificateSettings(s)},
		{"DNS records", recordSettings(s)},
		{"DNS on the local network", localDNSSettings(s)},
		{"Logs", logSettings(s)},
		{"Traffic", trafficSettings(s)},
		{"Backends", backendSettings(s)},
		{"Protection", protectionSettings(s)},
	} {
		for _, row := range group.rows {
			row.group = group.name
			rows = append(rows, row)
		}
	}
	return rows
}

func objectSettings(s *Settings) []setting {
	return []setting{
		{name: "manifests", value: text(&s.Manifests, ""),
			usage: "read objects from the YAML files of `path` (a directory, a file, or - for standard input) instead of a Kubernetes API server"},
		{name: "kubeconfig", value: text(&s.Kubeconfig, ""),
			usage: "`file` that says how to reach the API server; without it: $KUBECONFIG, the Pod's service account, ~/.kube/config"},
		{name: "controller-name", value: controllerName(&s.ControllerName, "lintel.dev/gateway-controller"),
			usage: "GatewayClasses whose spec.controllerName is this `name` are ours"},
		{name: "ingress-controller-name", value: controllerName(&s.IngressControllerName, "lintel.dev/ingress-controller"),
			usage: "IngressClasses whose spec.controller is this `name` are ours"},
		{name: "gateway-class", value: list(&s.GatewayClasses, objectName),
			usage: "of our GatewayClasses serve only those with these `names`"},
		{name: "ingress-class", value: list(&s.IngressClasses, objectName),
			usage: "of our IngressClasses serve only those with these `names`"},
		{name: "watch-namespaces", value: list(&s.WatchNamespaces, objectName),
			usage: "watch only these `namespaces`; cluster-scoped objects are watched in any case"},
		{name: "gateway-services", value: onOff(&s.GatewayServices, true),
			usage: "make a Service for each Gateway, by which clients in Kubernetes reach it, with the labels and annotations of spec.infrastructure: `on|off`"},
		{name: "leader-election", value: onOff(&s.LeaderElection, true),
			usage: "of several replicas let one write statuses, elected by a Lease: `on|off`; all of them serve; off suits a single replica"},
		{name: "lease-name", value: named(&s.LeaseName, "lintel"),
			usage: "`name` of this Lease; replicas that serve the same classes share it, and others in the same namespace need another"},
		{name: "lease-namespace", value: named(&s.LeaseNamespace, ""),
			usage: "`namespace` of this Lease; without it the Pod's own, or else the kubeconfig's"},
	}
}

func addressSettings(s *Settings) []setting {
	return []setting{
		{name: "http-port", value: port(&s.HTTPPort, 80),
			usage: "`port` on which Ingress is served over HTTP; 0 turns it off"},
		{name: "https-port", value: port(&s.HTTPSPort, 443),
			usage: "`port` on which Ingress is served over HTTPS; 0 turns it off"},
		{name: "http3", value: onOff(&s.HTTP3, true),
			usage: "serve HTTP/3 beside HTTPS, on the UDP port of the same number, and tell clients of it (Alt-Svc): `on|off`"},
		{name: "publish-address", value: list(&s.PublishAddresses, publishAddress),
			usage: "`addresses` (IP or hostname) to publish in the status of Gateways and Ingresses instead of the nodes' own"},
		{name: "publish-service", value: objectInNamespace(&s.PublishService),
			usage: "`namespace/name` of a Service of type LoadBalancer whose addresses to publish in the status of Gateways and Ingresses instead of the nodes' own"},
		{name: "address-pools", value: addressPools(&s.AddressPools),
			usage: "`networks` (CIDR, address, or range as first-last) that every Gateway gets an address of its own from; in the file also pools, each with name, cidrs, gatewayClasses and namespaces, of which the last two limit whom it serves"},
		{name: "announce-interface", value: text(&s.AnnounceInterface, ""),
			usage: "`name` of the network interface that addresses of pools are put and announced on; without it that of the default route, or else lo"},
		{name: "node-name", value: text(&s.NodeName, ""),
			usage: "publish only the addresses of the node of this `name`"},
		{name: "host-ports", value: choice(&s.HostPorts, hostPortsBind, hostPortsBind, hostPortsSkLookup),
			usage: "`way` to receive for ports: bind takes them as any program does; sk_lookup, of eBPF, leaves them unbound, which needs CAP_BPF and CAP_NET_ADMIN, and of the right to ports below 1024 only UDP's; what it can't do is bound"},
		{name: "share-sockets", value: onOff(&s.ShareSockets, false),
			usage: "have listening sockets between the replicas on this machine, so that a new one serves before an old one ends: `on|off`; replicas are of the same user, in the same network namespace, and have the same controller names and Lease"},
		{name: "socket-lb", value: choice(&s.SocketLB, socketLBSelf, socketLBOff, socketLBSelf, socketLBNode),
			usage: "whose connections to Services go straight to an endpoint, by eBPF: `off|self|node`; self is Lintel's own cgroup, where the machine allows it; node is all of the node, also without kube-proxy, and outlives Lintel until lintel bpf detach"},
		{name: "admin-address", value: hostPort(&s.AdminAddress, "127.0.0.1:9180"),
			usage: "`host:port` of /healthz, /readyz, /metrics, /certificates, /tunnels and /observe; empty turns them off; with share-sockets a replica that drains leaves it to the next one"},
		{name: "admin-socket", value: text(&s.AdminSocket, ""),
			usage: "`path` of a Unix socket for the same, which lintel probe asks; empty makes none"},
	}
}

func logSettings(s *Settings) []setting {
	return []setting{
		{name: "log-level", value: choice(&s.LogLevel, "info", "debug", "info", "warn", "error"),
			usage: "write log lines of this `level` and above"},
		{name: "log-format", value: choice(&s.LogFormat, "json", "json", "text"),
			usage: "`format` of log lines; the access log is JSON in any case"},
		{name: "access-log", value: onOff(&s.AccessLog, true),
			usage: "write one line for each exchange to standard output: `on|off`"},
		{name: "access-log-sample", value: count(&s.AccessLogSample, 1),
			usage: "write only one line in `n`; answers with a 5xx status are always written"},
		{name: "observe-records", value: atMost(maxRecords, limit(&s.ObserveRecords, 1024)),
			usage: "`number` of the newest records that are kept in memory for lintel observe, rounded up to a power of two; 0 keeps none, and turns lintel observe off"},
		{name: "flow-records", value: choice(&s.FlowRecords, flowsOff, flowsOff, flowsSelf, flowsNode),
			usage: "record every TCP connection at its end, by eBPF, for lintel observe: `off|self|node`; self records those of Lintel's own cgroup, node all that its outermost cgroup has; needs CAP_BPF and CAP_NET_ADMIN, without which Lintel says so and goes on"},
	}
}

func trafficSettings(s *Settings) []setting {
	return []setting{
		{name: "trusted-proxies", value: list(&s.TrustedProxies, network),
			usage: "`networks` (CIDR or address) whose X-Forwarded-* fields are believed"},
		{name: "drain-timeout", value: positive(timeout(&s.DrainTimeout, exchange.DefaultDrainTimeout)),
			usage: "`time` that exchanges in flight get to finish after SIGTERM, or after their socket was removed"},
		{name: "read-header-timeout", value: timeout(&s.ReadHeaderTimeout, exchange.DefaultReadHeaderTimeout),
			usage: "`time` that a client gets for a TLS handshake, and for a request head from its first byte; 0 means no limit"},
		{name: "idle-timeout", value: timeout(&s.IdleTimeout, exchange.DefaultIdleTimeout),
			usage: "`time` that a client's connection is kept between two requests; 0 means no limit"},
		{name: "connect-timeout", value: timeout(&s.ConnectTimeout, exchange.DefaultConnectTimeout),
			usage: "`time` for connecting to one endpoint; 0 means no limit"},
		{name: "response-header-timeout", value: timeout(&s.ResponseHeaderTimeout, exchange.DefaultResponseHeaderTimeout),
			usage: "`time` that a backend gets from the end of a request to the head of its response; 0 means no limit"},
		{name: "body-stall-timeout", value: timeout(&s.BodyStallTimeout, exchange.DefaultBodyTimeout),
			usage: "`time` between two pieces of a body, from and to either side; 0 means no limit"},
		{name: "min-body-rate", value: size(&s.MinBodyRate, exchange.DefaultMinBodyRate),
			usage: "`bytes` a second that a client must send of a request body while it is waited for, on average over 30 s, beyond which the answer is 408; for HTTP/1 alone, where a body holds a connection; over HTTP/2 it is how much room a client must make for a response that waits; 0 means no limit"},
		{name: "upstream-idle-timeout", value: timeout(&s.UpstreamIdleTimeout, exchange.DefaultUpstreamIdleTimeout),
			usage: "`time` that an idle connection to an endpoint is kept; 0 means no limit"},
		{name: "upstream-max-age", value: timeout(&s.UpstreamMaxAge, exchange.DefaultUpstreamMaxAge),
			usage: "`time` after which a connection to an endpoint is not used again once its requests are answered; 0 means no limit"},
		{name: "stream-idle-timeout", value: timeout(&s.StreamIdleTimeout, exchange.DefaultStreamIdleTimeout),
			usage: "`time` after which a connection of a TCPRoute or a TLSRoute is closed in which nothing was sent, in either direction; 0 means no limit"},
		{name: "udp-idle-timeout", value: positive(timeout(&s.UDPIdleTimeout, exchange.DefaultSessionIdleTimeout)),
			usage: "`time` after which a client of a UDPRoute that is silent, and was sent nothing, may get another endpoint"},
		{name: "max-header-bytes", value: positive(atLeast(minHeaderBytes, size(&s.MaxHeaderBytes, int64(h1.DefaultLimits().Head)))),
			usage: "`size` of a request or response head, beyond which it is refused; its first line may have 8 KiB, and a head 128 fields"},
		{name: "max-body-bytes", value: size(&s.MaxBodyBytes, 0),
			usage: "`size` of a request body, beyond which the answer is 413; 0 means no limit"},
	}
}

func backendSettings(s *Settings) []setting {
	return []setting{
		{name: "outlier-errors", value: limit(&s.OutlierErrors, 0),
			usage: "`number` of answers with a 5xx status, or none at all, in a row after which an endpoint gets no requests for 30 s, and twice as long each time, up to 5 min; never more than half of a backend's endpoints at once; 0 turns it off"},
		{name: "slow-start", value: timeout(&s.SlowStart, 0),
			usage: "`time` in which an endpoint that comes to others grows from a tenth to its full share of requests; 0 gives it at once"},
		{name: "max-requests-per-backend", value: limit(&s.MaxRequestsPerBackend, 0),
			usage: "`number` of requests that a backend works on at once, beyond which the answer is 503; 0 means no limit"},
		{name: "max-pending-per-backend", value: limit(&s.MaxPendingPerBackend, 0),
			usage: "`number` of these that wait for a new connection, beyond which the answer is 503; 0 means no limit"},
		{name: "max-connections-per-endpoint", value: limit(&s.MaxConnectionsPerEndpoint, 0),
			usage: "`number` of open connections to one endpoint, beyond which others are tried and then the answer is 503; 0 means no limit"},
	}
}

func protectionSettings(s *Settings) []setting {
	return []setting{
		{name: "proxy-protocol-from", value: list(&s.ProxyProtocolFrom, network),
			usage: "`networks` (CIDR or address) of load balancers whose connections must begin with a PROXY protocol header (version 1 or 2)"},
		{name: "max-connections", value: limit(&s.MaxConnections, exchange.DefaultMaxConnections),
			usage: "`number` of open client connections of one port, beyond which new ones are closed; 0 means no limit"},
		{name: "max-connections-per-address", value: limit(&s.MaxConnectionsPerAddress, 0),
			usage: "`number` of open connections of one client address (of one /64 in IPv6), trusted proxies excepted; 0 means no limit, which is right behind a load balancer that hides addresses"},
		{name: "max-udp-sessions", value: limit(&s.MaxUDPSessions, exchange.DefaultMaxSessions),
			usage: "`number` of clients that one UDP port serves at once, beyond which a new one takes the place of one that was silent for 5 s, or else is not served; 0 means no limit"},
		{name: "max-concurrent-streams", value: count(&s.MaxConcurrentStreams, exchange.DefaultMaxConcurrentStreams),
			usage: "`number` of requests that one client connection may have under way at once, over HTTP/2 and HTTP/3"},
		{name: "memory-limit", value: atLeast(minMemory, memory(&s.MemoryLimit)),
			usage: "`size` of the memory that Lintel may use, or container for the limit of the container, if there is one; when three quarters are in use, or would be by what the requests under way may need, 64 to 128 KiB each, new requests get 503 with Retry-After; 0 means no limit"},
		{name: "error-cause", value: onOff(&s.ErrorCause, false),
			usage: "say in Lintel's own error answers what was wrong, in the field X-Lintel-Cause: `on|off`"},
		{name: "express-lane", value: onOff(&s.ExpressLane, true),
			usage: "serve plain requests in event loops: `on|off`; off serves every connection by a goroutine, which behaves alike and costs more"},
	}
}
