package observe

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// ObjectCondition is one condition of one kind of object: HTTPRoute, Accepted,
// False.
type ObjectCondition struct {
	Kind      string
	Condition string
	Status    string
}

// SetObjects replaces the numbers of objects. count is called at each scrape, on any
// goroutine: there may be thousands of objects, and a build of them every few
// milliseconds.
func (m *Metrics) SetObjects(count func() map[ObjectCondition]int) { m.objects.count.Store(&count) }

// objectCounts are the numbers of objects, as Prometheus collects them.
type objectCounts struct {
	desc  *prometheus.Desc
	count atomic.Pointer[func() map[ObjectCondition]int]
}

func newObjectCounts() *objectCounts {
	o := &objectCounts{desc: prometheus.NewDesc("lintel_objects", "Objects of ours by the status of each condition.",
		[]string{"kind", "condition", "status"}, nil)}
	none := func() map[ObjectCondition]int { return nil }
	o.count.Store(&none)
	return o
}

func (o *objectCounts) Describe(to chan<- *prometheus.Desc) { to <- o.desc }

func (o *objectCounts) Collect(to chan<- prometheus.Metric) {
	for c, n := range (*o.count.Load())() {
		to <- prometheus.MustNewConstMetric(o.desc, prometheus.GaugeValue, float64(n), c.Kind, c.Condition, c.Status)
	}
}
