package observe

import (
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Attachment is a Route on a Listener, as an Exchange names them.
type Attachment struct {
	Listener string
	Route    string
}

// seriesKey finds the series of an exchange. It is as small as can be, since with thousands
// of Routes each look-up is one in memory that no cache has; and the strings are those of the
// Rules themselves, so that they need not be compared byte by byte.
type seriesKey struct {
	Attachment
	protocol protocol
	class    uint8 // of the status code; 0 is aborted
}

// series is what one kind of exchange counts in. With thousands of Routes it comes from
// another part of memory for each request, so it is small and in one piece: the number of
// exchanges is the sum of its buckets.
type series struct {
	took    atomic.Int64              // by all of them, in nanoseconds
	buckets [bounds + 1]atomic.Uint64 // by how long each took; the last is beyond
}

// bounds is the number of durations that durationBounds returns.
const bounds = 16

// durationBounds returns the upper bounds of buckets: fine from half a millisecond, which a
// backend nearby takes, and up to a minute, the usual timeout.
func durationBounds() [bounds]time.Duration {
	return [...]time.Duration{
		500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
		5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
		50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
		500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
		5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
	}
}

// observe counts one exchange.
func (s *series) observe(took time.Duration) {
	i := 0
	for _, bound := range durationBounds() {
		if took <= bound {
			break
		}
		i++
	}
	s.buckets[i].Add(1)
	s.took.Add(int64(took))
}

// histogram is a sum of series.
type histogram struct {
	took    time.Duration
	buckets [bounds + 1]uint64
}

func (h *histogram) add(s *series) (count uint64) {
	h.took += time.Duration(s.took.Load())
	for i := range s.buckets {
		n := s.buckets[i].Load()
		h.buckets[i] += n
		count += n
	}
	return count
}

// cumulative returns what Prometheus wants to know: how many took no longer than each of
// the bounds, in seconds, and how many there are.
func (h *histogram) cumulative() (buckets map[float64]uint64, count uint64) {
	buckets = make(map[float64]uint64, bounds)
	for i, bound := range durationBounds() {
		count += h.buckets[i]
		buckets[bound.Seconds()] = count
	}
	return buckets, count + h.buckets[bounds]
}

// requestSeries are all series of requests, as Prometheus collects them. Most are settled,
// and found without a lock, since that map is never changed. New ones are fresh until enough
// look-ups have missed the settled ones to pay for a new map: with thousands of Routes, a map
// for each that gets its first request would hold up the others.
type requestSeries struct {
	settled  atomic.Pointer[map[seriesKey]*series]
	requests *prometheus.Desc
	duration *prometheus.Desc

	mu        sync.Mutex // guards what follows, and changes of settled
	fresh     map[seriesKey]*series
	misses    int               // since settled was changed
	listeners map[string]string // the strings in the keys
}

// missShare of all series is how many look-ups may miss: by that the settled ones grow each
// time, so that a series is copied some ten times in all.
const missShare = 8

// of returns the series of a key, a new one if need be.
func (r *requestSeries) of(key seriesKey) *series {
	if s := (*r.settled.Load())[key]; s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	settled := *r.settled.Load()
	s := settled[key]
	if s == nil {
		s = r.fresh[key]
	}
	if s == nil {
		s = r.add(key)
	}
	if r.misses++; r.misses > (len(settled)+len(r.fresh))/missShare {
		r.settle()
	}
	return s
}

// add makes the series of a key. mu is held.
func (r *requestSeries) add(key seriesKey) *series {
	listener, known := r.listeners[key.Listener]
	if !known { // one string for all of its Routes
		listener = key.Listener
		r.listeners[listener] = listener
	}
	key.Listener = listener
	s := &series{}
	r.fresh[key] = s
	return s
}

// settle makes all series settled. mu is held.
func (r *requestSeries) settle() map[seriesKey]*series {
	r.misses = 0
	settled := *r.settled.Load()
	if len(r.fresh) == 0 {
		return settled
	}
	next := make(map[seriesKey]*series, len(settled)+len(r.fresh))
	maps.Copy(next, settled)
	maps.Copy(next, r.fresh)
	clear(r.fresh)
	r.settled.Store(&next)
	return next
}

// keep deletes all others.
func (r *requestSeries) keep(stays func(Attachment) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	current := r.settle()
	next := make(map[seriesKey]*series, len(current))
	for key, s := range current {
		if stays(key.Attachment) {
			next[key] = s
		}
	}
	if len(next) == len(current) {
		return
	}
	r.settled.Store(&next)
	clear(r.listeners)
	for key := range next {
		r.listeners[key.Listener] = key.Listener
	}
}

func newRequestSeries() *requestSeries {
	s := &requestSeries{
		requests: prometheus.NewDesc("lintel_requests_total",
			"Requests answered, by class of the status code; aborted stands for those that got no answer.",
			[]string{"code", "listener", "route", "protocol"}, nil),
		duration: prometheus.NewDesc("lintel_request_duration_seconds",
			"Time from a request's head to the last byte of its response.", []string{"listener", "route"}, nil),
	}
	s.settled.Store(&map[seriesKey]*series{})
	s.fresh, s.listeners = map[seriesKey]*series{}, map[string]string{}
	return s
}

// Describe implements [prometheus.Collector].
func (r *requestSeries) Describe(to chan<- *prometheus.Desc) {
	to <- r.requests
	to <- r.duration
}

// Collect implements [prometheus.Collector].
func (r *requestSeries) Collect(to chan<- prometheus.Metric) {
	r.mu.Lock()
	all := r.settle()
	r.mu.Unlock()
	sums := map[Attachment]*histogram{}
	for key, s := range all {
		sum := sums[key.Attachment]
		if sum == nil {
			sum = &histogram{}
			sums[key.Attachment] = sum
		}
		count := sum.add(s)
		to <- prometheus.MustNewConstMetric(r.requests, prometheus.CounterValue, float64(count),
			classLabel(key.class), key.Listener, key.Route, key.protocol.String())
	}
	for a, sum := range sums {
		buckets, count := sum.cumulative()
		to <- prometheus.MustNewConstHistogram(r.duration, count, sum.took.Seconds(), buckets, a.Listener, a.Route)
	}
}

// ObserveExchange counts one exchange. It neither locks nor allocates once some exchanges of
// that listener, route, protocol and class were seen before.
func (m *Metrics) ObserveExchange(e *Exchange) {
	if e.stream() {
		m.observeStream(e)
		return
	}
	key := seriesKey{Attachment{e.Listener, e.Route}, protocolOf(e.Protocol), codeClass(e.Status)}
	m.series.of(key).observe(e.Duration)
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

// Keep deletes the series of every Attachment that is not live; that of requests
// which no rule matched stays. An exchange of a removed Route that ends later
// makes its series anew, until the next Keep.
func (m *Metrics) Keep(live map[Attachment]bool) {
	m.seriesMu.Lock()
	defer m.seriesMu.Unlock()
	keep := func(a Attachment) bool { return live[a] || a == Attachment{} }
	m.keepStreams(keep)
	m.series.keep(keep)
}

// codeClass returns the first digit of a status, or 0 for no status.
func codeClass(status int) uint8 {
	if class := status / 100; class >= 1 && class <= 5 {
		return uint8(class)
	}
	return 0
}

func classLabel(class uint8) string {
	return [...]string{"aborted", "1xx", "2xx", "3xx", "4xx", "5xx"}[class]
}

// protocol is one that exchanges are counted by: what a client may write is not to become
// a series each.
type protocol uint8

const (
	otherProtocol protocol = iota
	http10
	http11
	http2
	http3
)

// String returns the label.
func (p protocol) String() string {
	return [...]string{"other", "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", "HTTP/3.0"}[p]
}

func protocolOf(name string) protocol {
	switch name {
	case "HTTP/1.1":
		return http11
	case "HTTP/1.0":
		return http10
	case "HTTP/2.0":
		return http2
	case "HTTP/3.0":
		return http3
	}
	return otherProtocol
}
