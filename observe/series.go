package observe

import (
	"maps"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Attachment is a Route on a Listener, as an Exchange names them.
type Attachment struct {
	Listener string
	Route    string
}

// seriesKey finds the series of an exchange.
type seriesKey struct {
	Attachment
	protocol string
	class    int // of the status code; 0 is aborted
}

// series are what one kind of exchange counts in, ready to be used: to find them
// by their labels costs more than to count.
type series struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

// ObserveExchange counts one exchange. It neither locks nor allocates once an
// exchange of that listener, route, protocol and class was seen before.
func (m *Metrics) ObserveExchange(e *Exchange) {
	if e.stream() {
		m.observeStream(e)
		return
	}
	key := seriesKey{Attachment{e.Listener, e.Route}, protocolLabel(e.Protocol), codeClass(e.Status)}
	s := (*m.series.Load())[key]
	if s == nil {
		s = m.addSeries(key)
	}
	s.requests.Inc()
	s.duration.Observe(e.Duration.Seconds())
}

// observeStream counts one connection or session that was not read as HTTP. These are
// rare beside requests.
func (m *Metrics) observeStream(e *Exchange) {
	m.seriesMu.Lock() // Keep may not come between the two
	defer m.seriesMu.Unlock()
	listener, route, protocol := strings.Clone(e.Listener), strings.Clone(e.Route), strings.Clone(e.Protocol)
	m.streams.WithLabelValues(strconv.FormatBool(e.Cause == ""), listener, route, protocol).Inc()
	m.streamed.WithLabelValues("in", listener, route, protocol).Add(float64(e.BytesIn))
	m.streamed.WithLabelValues("out", listener, route, protocol).Add(float64(e.BytesOut))
	m.streamKeys[Attachment{listener, route}] = true
}

// keepStreams deletes the series of streams that are not to be kept. The caller holds
// m.seriesMu.
func (m *Metrics) keepStreams(keep func(Attachment) bool) {
	for a := range m.streamKeys {
		if keep(a) {
			continue
		}
		delete(m.streamKeys, a)
		labels := prometheus.Labels{"listener": a.Listener, "route": a.Route}
		m.streams.DeletePartialMatch(labels)
		m.streamed.DeletePartialMatch(labels)
	}
}

// addSeries makes the series of a key that is new. The map is copied: that is rare,
// and lets readers go without a lock.
func (m *Metrics) addSeries(key seriesKey) *series {
	m.seriesMu.Lock()
	defer m.seriesMu.Unlock()
	current := *m.series.Load()
	if s := current[key]; s != nil {
		return s
	}
	key.Listener, key.Route = strings.Clone(key.Listener), strings.Clone(key.Route)
	s := &series{
		requests: m.requests.WithLabelValues(classLabel(key.class), key.Listener, key.Route, key.protocol),
		duration: m.durations.WithLabelValues(key.Listener, key.Route),
	}
	next := maps.Clone(current)
	next[key] = s
	m.series.Store(&next)
	return s
}

// Keep deletes the series of every Attachment that is not live; that of requests
// which no rule matched stays. An exchange of a removed Route that ends later
// makes its series anew, until the next Keep.
func (m *Metrics) Keep(live map[Attachment]bool) {
	m.seriesMu.Lock()
	defer m.seriesMu.Unlock()
	keep := func(a Attachment) bool { return live[a] || a == Attachment{} }
	m.keepStreams(keep)
	current := *m.series.Load()
	next := make(map[seriesKey]*series, len(current))
	for key, s := range current {
		if keep(key.Attachment) {
			next[key] = s
		}
	}
	if len(next) == len(current) {
		return
	}
	m.series.Store(&next)
	for key := range current {
		if !keep(key.Attachment) {
			labels := prometheus.Labels{"listener": key.Listener, "route": key.Route}
			m.requests.DeletePartialMatch(labels)
			m.durations.DeletePartialMatch(labels)
		}
	}
}

// codeClass returns the first digit of a status, or 0 for no status.
func codeClass(status int) int {
	if class := status / 100; class >= 1 && class <= 5 {
		return class
	}
	return 0
}

func classLabel(class int) string {
	return [...]string{"aborted", "1xx", "2xx", "3xx", "4xx", "5xx"}[class]
}

// protocolLabel keeps what a client may write from becoming a series each.
func protocolLabel(protocol string) string {
	switch protocol {
	case "HTTP/1.1":
		return "HTTP/1.1" // constants: the exchange's string does not live on
	case "HTTP/1.0":
		return "HTTP/1.0"
	case "HTTP/2.0":
		return "HTTP/2.0"
	case "HTTP/3.0":
		return "HTTP/3.0"
	}
	return "other"
}
