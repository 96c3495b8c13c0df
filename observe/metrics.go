package observe

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Build says what program this is, for lintel_build_info.
type Build struct {
	Version   string
	Commit    string
	GoVersion string
}

// Metrics is what Prometheus scrapes. It has a registry of its own. Its methods
// are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	streams    *prometheus.CounterVec
	streamed   *prometheus.CounterVec
	logDropped prometheus.Counter

	builds       prometheus.Counter
	buildSeconds prometheus.Histogram
	objects      *objectCounts

	series     *requestSeries
	seriesMu   sync.Mutex          // guards what follows
	streamKeys map[Attachment]bool // those of streams

	certificates *certificateMetrics
	dns          *dnsMetrics
	tunnels      *tunnelMetrics
	localDNS     *localDNSMetrics
}

// NewMetrics returns Metrics with everything registered but the connections.
func NewMetrics(build Build) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		series:   newRequestSeries(),
		streams: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_streams_total",
			Help: "Connections of TCPRoutes and TLSRoutes and sessions of UDPRoutes that have ended; ok is false for those that did not end well.",
		}, []string{"ok", "listener", "route", "protocol"}),
		streamed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_stream_bytes_total",
			Help: "Bytes that these had moved when they ended.",
		}, []string{"direction", "listener", "route", "protocol"}),
		logDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lintel_access_log_dropped_total",
			Help: "Lines that the access log dropped because it could not be written fast enough, or at all.",
		}),
		builds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lintel_config_builds_total",
			Help: "Builds of the configuration from all objects.",
		}),
		buildSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "lintel_config_build_seconds",
			Help:    "Time that a build of the configuration took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
		objects:    newObjectCounts(),
		streamKeys: make(map[Attachment]bool),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "lintel_build_info",
		Help:        "Always 1; the labels say what program this is.",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit, "goversion": build.GoVersion},
	})
	info.Set(1)
	m.certificates = newCertificateMetrics(m.registry)
	m.dns = newDNSMetrics(m.registry)
	m.tunnels = newTunnelMetrics(m.registry)
	m.localDNS = newLocalDNSMetrics(m.registry)
	m.registry.MustRegister(m.series, m.streams, m.streamed, m.logDropped, m.builds, m.buildSeconds, m.objects, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Connections are numbers that are read at each scrape, on any goroutine.
type Connections struct {
	Downstream   func() int64 // open client connections
	Upstream     func() int64 // open upstream connections, idle ones included
	UpstreamIdle func() int64
	Upgraded     func() int64 // relayed after an upgrade
	Refused      func() int64 // client connections beyond a limit, ever: this one only grows
	Streams      func() int64 // client connections that are not read as HTTP
	Sessions     func() int64 // of UDP
	Dropped      func() int64 // datagrams that were not forwarded, ever: this one only grows
	Mirroring    func() int64 // copies of requests under way to mirrors
	MirrorsCut   func() int64 // copies that were not sent, or not to their end, ever: this one only grows
	NoAccess     func() int64 // requests through tunnels that Access did not let pass, ever: this one only grows
}

// ObserveConnections adds the numbers of connections. It is called once, with all
// of them set.
func (m *Metrics) ObserveConnections(c Connections) {
	for _, gauge := range []struct {
		name, help string
		read       func() int64
	}{
		{"lintel_downstream_connections", "Open client connections.", c.Downstream},
		{"lintel_upstream_connections", "Open connections to endpoints, idle ones included.", c.Upstream},
		{"lintel_upstream_idle_connections", "Connections to endpoints that wait for a request.", c.UpstreamIdle},
		{"lintel_upgraded_connections", "Client connections being relayed after an upgrade.", c.Upgraded},
		{"lintel_open_streams", "Client connections of TCPRoutes and TLSRoutes.", c.Streams},
		{"lintel_udp_sessions", "Clients of UDPRoutes that have an endpoint.", c.Sessions},
		{"lintel_mirroring", "Copies of requests under way to mirrors.", c.Mirroring},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: gauge.name, Help: gauge.help},
			func() float64 { return float64(gauge.read()) }))
	}
	for _, counter := range []struct {
		name, help string
		read       func() int64
	}{
		{"lintel_refused_connections_total", "Client connections that were closed because there were too many.", c.Refused},
		{"lintel_udp_dropped_total", "Datagrams that were not forwarded.", c.Dropped},
		{"lintel_mirrors_cut_total", "Copies of requests that a mirror did not get, or not to their end.", c.MirrorsCut},
		{"lintel_no_access_total", "Requests through tunnels that were refused because Cloudflare Access did not let them pass.", c.NoAccess},
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(
			prometheus.CounterOpts{Name: counter.name, Help: counter.help},
			func() float64 { return float64(counter.read()) }))
	}
}

// ObserveBuild counts one build of the configuration.
func (m *Metrics) ObserveBuild(took time.Duration) {
	m.builds.Inc()
	m.buildSeconds.Observe(took.Seconds())
}

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}
