package observe

import "github.com/prometheus/client_golang/prometheus"

// FlowMetrics count connections as the kernel saw them.
type FlowMetrics struct {
	flows *prometheus.CounterVec
	bytes *prometheus.CounterVec
	lost  prometheus.Counter
}

// ObserveFlows adds the metrics of flows. It is called once, where flows are recorded.
func (m *Metrics) ObserveFlows() *FlowMetrics {
	f := &FlowMetrics{
		flows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_flows_total",
			Help: "Ends of TCP connections, and attempts to connect, that were recorded when they ended.",
		}, []string{"direction", "verdict"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lintel_flow_bytes_total",
			Help: "Bytes that these ends had received, and sent and had confirmed.",
		}, []string{"direction"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lintel_flows_lost_total",
			Help: "Ends of TCP connections without a record, because they came faster than they were read.",
		}),
	}
	m.registry.MustRegister(f.flows, f.bytes, f.lost)
	return f
}

// Flow counts a connection that has ended.
func (f *FlowMetrics) Flow(flow *Flow) {
	f.flows.WithLabelValues(string(flow.direction()), string(flow.Verdict)).Inc()
	f.bytes.WithLabelValues("received").Add(float64(flow.Received))
	f.bytes.WithLabelValues("sent").Add(float64(flow.Sent))
}

// Lost counts so many connections that have no record.
func (f *FlowMetrics) Lost(connections uint64) { f.lost.Add(float64(connections)) }
