package observe

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"math"
	"sync/atomic"
	"time"
)

const (
	// queueLength is how many lines may wait: at 20,000 requests a second those of
	// 0.2 s, which a slow disk or a full pipe may take.
	queueLength = 4096
	// writeBuffer holds about 100 lines, which then cost one write.
	writeBuffer = 64 << 10
)

// AccessLogOptions are what an AccessLog needs.
type AccessLogOptions struct {
	// Writer takes the lines, as JSON. One goroutine writes, whole lines at a time.
	Writer io.Writer
	// Sample writes one exchange in so many, 0 and 1 each; those that were answered
	// with 5xx are written in any case.
	Sample int
	// Metrics counts dropped lines.
	Metrics *Metrics
}

// AccessLog writes a line for each exchange. Its methods are safe for concurrent
// use.
type AccessLog struct {
	options AccessLogOptions
	seen    atomic.Uint64
	// queue is never closed: senders may come as long as connections live.
	queue chan *Exchange
}

// NewAccessLog returns an AccessLog that queues until Run writes.
func NewAccessLog(o AccessLogOptions) *AccessLog {
	o.Sample = max(o.Sample, 1)
	return &AccessLog{options: o, queue: make(chan *Exchange, queueLength)}
}

// ObserveExchange queues a line. It never blocks: when the queue is full, the line
// is dropped and counted.
func (l *AccessLog) ObserveExchange(e *Exchange) {
	if e.Status < 500 && l.options.Sample > 1 && l.seen.Add(1)%uint64(l.options.Sample) != 1 {
		return
	}
	if len(l.queue) == cap(l.queue) { // before the effort of a copy
		l.options.Metrics.logDropped.Inc()
		return
	}
	select {
	case l.queue <- e.clone():
	default:
		l.options.Metrics.logDropped.Inc()
	}
}

// Run writes lines until ctx ends, and then those that are queued. It should end
// after the data plane. It returns nil: a line that can't be written is counted
// as dropped, and serving goes on.
func (l *AccessLog) Run(ctx context.Context) error {
	out := bufio.NewWriterSize(l.options.Writer, writeBuffer)
	handler := slog.NewJSONHandler(out, nil)
	unflushed := 0
	flush := func() {
		if err := out.Flush(); err != nil {
			l.options.Metrics.logDropped.Add(float64(unflushed))
			out.Reset(l.options.Writer) // forget the error, or nothing is written ever again
		}
		unflushed = 0
	}
	write := func(e *Exchange) {
		_ = handler.Handle(ctx, e.record()) // the error comes again from Flush
		if unflushed++; len(l.queue) == 0 || out.Available() < writeBuffer/2 {
			flush()
		}
	}
	for {
		select {
		case e := <-l.queue:
			write(e)
		case <-ctx.Done():
			for range len(l.queue) {
				write(<-l.queue)
			}
			return nil
		}
	}
}

// clone returns a copy whose strings live on, in one piece of memory.
func (e *Exchange) clone() *Exchange {
	c := *e
	all := e.Method + e.Host + e.Path + e.UserAgent + e.RequestID + e.Protocol + e.Scheme +
		e.Listener + e.Route + e.Backend + e.Cause
	for _, s := range c.strings() {
		*s, all = all[:len(*s)], all[len(*s):]
	}
	return &c
}

// record returns the line. Its keys are part of what users rely on: they are
// always all there, and docs/observing.md lists them.
func (e *Exchange) record() slog.Record {
	upstream := ""
	if e.Upstream.IsValid() {
		upstream = e.Upstream.String()
	}
	client := ""
	if e.Client.IsValid() {
		client = e.Client.String()
	}
	message := "exchange"
	if e.stream() {
		message = "stream"
	}
	r := slog.NewRecord(e.Start, slog.LevelInfo, message, 0)
	r.AddAttrs(
		slog.String("client", client),
		slog.String("method", e.Method),
		slog.String("scheme", e.Scheme),
		slog.String("host", e.Host),
		slog.String("path", e.Path),
		slog.String("protocol", e.Protocol),
		slog.Int("status", e.Status),
		slog.Int64("bytes_in", e.BytesIn),
		slog.Int64("bytes_out", e.BytesOut),
		slog.Float64("seconds", seconds(e.Duration)),
		slog.String("listener", e.Listener),
		slog.String("route", e.Route),
		slog.String("backend", e.Backend),
		slog.String("upstream", upstream),
		slog.Float64("upstream_seconds", seconds(e.UpstreamLatency)),
		slog.Int("attempts", e.Attempts),
		slog.String("user_agent", e.UserAgent),
		slog.String("request_id", e.RequestID),
		slog.String("cause", e.Cause),
	)
	return r
}

// seconds rounds to microseconds: more digits only make longer lines.
func seconds(d time.Duration) float64 {
	return math.Round(d.Seconds()*1e6) / 1e6
}
