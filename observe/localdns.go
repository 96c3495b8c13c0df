package observe

import "github.com/prometheus/client_golang/prometheus"

// localDNSMetrics tell of the answers that the local network gets.
type localDNSMetrics struct {
	queries   *prometheus.CounterVec
	names     prometheus.Gauge
	listening *prometheus.GaugeVec
}

func newLocalDNSMetrics(registry *prometheus.Registry) *localDNSMetrics {
	m := &localDNSMetrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_dns_responder_queries_total",
			Help: "DNS queries of the local network, by outcome: answered (from our own names), forwarded, refused or unanswered (by the servers they were forwarded to).",
		}, []string{"outcome"}),
		names: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lintel_dns_responder_names",
			Help: "Names that are answered on the local network, wildcards included.",
		}),
		listening: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lintel_dns_responder_listening",
			Help: "1 for an address on which DNS queries of the local network are answered, 0 for one that can't be opened.",
		}, []string{"address"}),
	}
	registry.MustRegister(m.queries, m.names, m.listening)
	return m
}

// ObserveLocalDNS counts a query by its outcome. It is safe for concurrent use.
func (m *Metrics) ObserveLocalDNS(outcome string) {
	m.localDNS.queries.WithLabelValues(outcome).Inc()
}

// SetLocalNames says how many names are answered.
func (m *Metrics) SetLocalNames(n int) { m.localDNS.names.Set(float64(n)) }

// SetLocalDNS says whether an address is open. It is safe for concurrent use.
func (m *Metrics) SetLocalDNS(address string, open bool) {
	state := 0.0
	if open {
		state = 1
	}
	m.localDNS.listening.WithLabelValues(address).Set(state)
}
