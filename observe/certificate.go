package observe

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificate names one that is served: its Secret, and the issuer that cares for it, ""
// for none.
type Certificate struct{ Namespace, Secret, Issuer string }

// certificateMetrics tell of certificates and of the orders for them.
type certificateMetrics struct {
	notAfter *prometheus.GaugeVec
	orders   *prometheus.CounterVec
	obtained *prometheus.CounterVec
	failures *prometheus.CounterVec

	mu     sync.Mutex // guards served
	served map[Certificate]bool
}

func newCertificateMetrics(registry *prometheus.Registry) *certificateMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &certificateMetrics{
		notAfter: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "lintel_tls_certificate_not_after_seconds",
			Help: "When the certificate of a Secret that is served ends, in Unix time.",
		}, []string{"namespace", "secret", "issuer"}),
		orders:   counter("lintel_acme_orders_total", "Orders for certificates that the CA of an issuer took.", "issuer"),
		obtained: counter("lintel_acme_certificates_total", "Certificates that were issued and stored.", "issuer"),
		failures: counter("lintel_acme_failures_total", "Attempts to get a certificate that failed, by the type of the CA's problem.", "issuer", "reason"),
	}
	registry.MustRegister(m.notAfter, m.orders, m.obtained, m.failures)
	return m
}

// SetCertificates replaces the certificates that are served, and when they end.
func (m *Metrics) SetCertificates(notAfter map[Certificate]time.Time) {
	all := m.certificates
	all.mu.Lock()
	defer all.mu.Unlock()
	for c := range all.served {
		if _, still := notAfter[c]; !still {
			all.notAfter.DeleteLabelValues(c.Namespace, c.Secret, c.Issuer)
		}
	}
	all.served = make(map[Certificate]bool, len(notAfter))
	for c, end := range notAfter {
		all.served[c] = true
		all.notAfter.WithLabelValues(c.Namespace, c.Secret, c.Issuer).Set(float64(end.Unix()))
	}
}

// Ordered counts an order that the CA of an issuer took.
func (m *Metrics) Ordered(issuer string) { m.certificates.orders.WithLabelValues(issuer).Inc() }

// Obtained counts a certificate that was issued and stored.
func (m *Metrics) Obtained(issuer string) { m.certificates.obtained.WithLabelValues(issuer).Inc() }

// OrderFailed counts an attempt to get a certificate that failed.
func (m *Metrics) OrderFailed(issuer, reason string) {
	m.certificates.failures.WithLabelValues(issuer, reason).Inc()
}
