package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// dnsMetrics tell of DNS records.
type dnsMetrics struct {
	records *prometheus.GaugeVec
	held    prometheus.Gauge
	synced  prometheus.Gauge
	rounds  *prometheus.CounterVec
	errors  *prometheus.CounterVec
}

func newDNSMetrics(registry *prometheus.Registry) *dnsMetrics {
	m := &dnsMetrics{
		records: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lintel_dns_records",
			Help: "DNS records that are wanted, by their zone, empty where there is none, and by how they fare: ready, refused, failed, pending or planned (by a dry run).",
		}, []string{"zone", "state"}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lintel_dns_deletions_held",
			Help: "DNS records whose deletion waits to be released, because they are too many.",
		}),
		synced: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lintel_dns_last_sync_timestamp_seconds",
			Help: "When all DNS records were last found or made as they are wanted, in Unix time.",
		}),
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_dns_syncs_total",
			Help: "Comparisons of DNS records that are wanted with those that are there, by result: ok or error.",
		}, []string{"result"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_dns_errors_total",
			Help: "Zones that could not be read or written, and changes of DNS records that a provider did not make, by cause: rate-limited, denied, credential, unreachable, server, refused or other.",
		}, []string{"cause"}),
	}
	registry.MustRegister(m.records, m.held, m.synced, m.rounds, m.errors)
	return m
}

// DNSRound is one comparison of DNS records that are wanted with those that are there.
type DNSRound struct {
	At      time.Time
	Failed  bool
	Records map[DNSRecords]int
	Held    int            // deletions that wait
	Errors  map[string]int // by cause
}

// DNSRecords are those of a zone that fare alike.
type DNSRecords struct{ Zone, State string }

// ObserveDNS takes over what a round has found. It is called by one goroutine.
func (m *Metrics) ObserveDNS(r DNSRound) {
	m.dns.records.Reset()
	for is, n := range r.Records {
		m.dns.records.WithLabelValues(is.Zone, is.State).Set(float64(n))
	}
	for cause, n := range r.Errors {
		m.dns.errors.WithLabelValues(cause).Add(float64(n))
	}
	m.dns.held.Set(float64(r.Held))
	if r.Failed {
		m.dns.rounds.WithLabelValues("error").Inc()
		return
	}
	m.dns.rounds.WithLabelValues("ok").Inc()
	m.dns.synced.Set(float64(r.At.Unix()))
}
