package observe

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Tunnel is a tunnel that is wanted, as it is at one moment. What counts only grows.
type Tunnel struct {
	Name                              string // namespace/name
	Connections                       []TunnelConnection
	Registered, Refused, Failed, Lost uint64
}

// TunnelConnection is a connection to the edge.
type TunnelConnection struct {
	Index              int
	Location, Protocol string
	RoundTrip          time.Duration
}

// tunnelMetrics are those of tunnels, as Prometheus collects them.
type tunnelMetrics struct {
	errors *prometheus.CounterVec
	read   atomic.Pointer[func() []Tunnel]

	connections, registrations, failures, lost, roundTrip *prometheus.Desc
}

func newTunnelMetrics(registry *prometheus.Registry) *tunnelMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"tunnel"}, labels...), nil)
	}
	m := &tunnelMetrics{
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_tunnel_request_errors_total",
			Help: "Requests that came through a tunnel and were not answered as their backend would have, by cause.",
		}, []string{"tunnel", "cause"}),
		connections:   desc("lintel_tunnel_connections", "Connections of a tunnel that are registered at Cloudflare's edge."),
		registrations: desc("lintel_tunnel_registrations_total", "Registrations that the edge has accepted."),
		failures:      desc("lintel_tunnel_connect_failures_total", "Attempts to connect that ended without a registration: failed on the way, or refused by the edge.", "reason"),
		lost:          desc("lintel_tunnel_reconnects_total", "Registered connections that broke, and had to be made anew."),
		roundTrip:     desc("lintel_tunnel_round_trip_seconds", "Time that the edge took to answer when a connection was dialled.", "connection", "location", "protocol"),
	}
	none := func() []Tunnel { return nil }
	m.read.Store(&none)
	registry.MustRegister(m, m.errors)
	return m
}

// ObserveTunnels says where tunnels are read, at each scrape and on any goroutine.
func (m *Metrics) ObserveTunnels(read func() []Tunnel) { m.tunnels.read.Store(&read) }

// TunnelError counts a request that came through a tunnel.
func (m *Metrics) TunnelError(tunnel, cause string) {
	m.tunnels.errors.WithLabelValues(tunnel, cause).Inc()
}

// Describe implements [prometheus.Collector].
func (m *tunnelMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.connections, m.registrations, m.failures, m.lost, m.roundTrip} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *tunnelMetrics) Collect(to chan<- prometheus.Metric) {
	for _, t := range (*m.read.Load())() {
		to <- prometheus.MustNewConstMetric(m.connections, prometheus.GaugeValue, float64(len(t.Connections)), t.Name)
		count := func(d *prometheus.Desc, n uint64, labels ...string) {
			to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), append([]string{t.Name}, labels...)...)
		}
		count(m.registrations, t.Registered)
		count(m.failures, t.Refused, "refused")
		count(m.failures, t.Failed, "failed")
		count(m.lost, t.Lost)
		for _, c := range t.Connections {
			to <- prometheus.MustNewConstMetric(m.roundTrip, prometheus.GaugeValue, c.RoundTrip.Seconds(), t.Name, strconv.Itoa(c.Index), c.Location, c.Protocol)
		}
	}
}
