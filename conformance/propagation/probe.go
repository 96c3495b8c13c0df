package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// prober requests one host all the time.
type prober struct {
	site     *site
	host     string
	requests *atomic.Int64
	wrong    *atomic.Int64 // answers after the first right one that were not right
}

// run requests until ctx ends, and calls first at the first right answer.
func (p *prober) run(ctx context.Context, first func(time.Time)) {
	ticker := time.NewTicker(p.site.options.probe)
	defer ticker.Stop()
	answered := false
	for {
		right := p.request(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case right && !answered:
			answered = true
			first(time.Now())
		case !right && answered:
			p.wrong.Add(1)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// request reports whether one request was answered by the backend for this host.
func (p *prober) request(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.site.address+"/", http.NoBody)
	if err != nil {
		return false
	}
	req.Host = p.host
	p.requests.Add(1)
	res, err := p.site.client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil && res.StatusCode == http.StatusOK && res.Header.Get(hostHeader) == p.host
}

// durations are measurements of one thing.
type durations []time.Duration

// String returns the median, the 99th percentile and the maximum.
func (d durations) String() string {
	if len(d) == 0 {
		return "no measurement"
	}
	sorted := slices.Sorted(slices.Values(d))
	at := func(share float64) time.Duration {
		return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("median %s, p99 %s, most %s", at(0.5), at(0.99), at(1))
}
