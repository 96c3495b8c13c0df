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
}

func newDNSMetrics(registry *prometheus.Registry) *dnsMetrics {
	m := &dnsMetrics{
		records: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lintel_dns_records",
			Help: "DNS records that are wanted, by how they fare: ready, refused, failed, pending or planned (by a dry run).",
		}, []string{"state"}),
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
	}
	registry.MustRegister(m.records, m.held, m.synced, m.rounds)
	return m
}

// DNSRound is one comparison of DNS records that are wanted with those that are there.
type DNSRound struct {
	At      time.Time
	Failed  bool
	Records map[string]int // by how they fare
	Held    int            // deletions that wait
}

// ObserveDNS takes over what a round has found. It is called by one goroutine.
func (m *Metrics) ObserveDNS(r DNSRound) {
	m.dns.records.Reset()
	for state, n := range r.Records {
		m.dns.records.WithLabelValues(state).Set(float64(n))
	}
	m.dns.held.Set(float64(r.Held))
	if r.Failed {
		m.dns.rounds.WithLabelValues("error").Inc()
		return
	}
	m.dns.rounds.WithLabelValues("ok").Inc()
	m.dns.synced.Set(float64(r.At.Unix()))
}
