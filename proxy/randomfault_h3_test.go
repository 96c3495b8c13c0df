package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

const (
	h3PlannedClients = 8
	h3PlannedRounds  = 5 // of requests that a client sends at once
	// vanishing is when clients that are gone without a word are given up: quic-go heeds no less.
	vanishing = 5 * time.Second
)

// h3Got is what a client got.
type h3Got struct {
	*h3Planned
	disturbed bool // another exchange may have ended the connection
	status, n int
	err       error // why it is not whole
}

func (got *h3Got) String() string {
	return fmt.Sprintf("%d, %d bytes, %v, disturbed %v: %+v of %+v", got.status, got.n, got.err, got.disturbed, *got.h3Planned, *got.planned)
}

// h3PlannedRun is a plannedRun whose clients speak HTTP/3.
type h3PlannedRun struct {
	plannedRun
	all map[string]*h3Got // by path
}

// write makes one exchange frame by frame.
func (r *h3PlannedRun) write(c *h3Client, got *h3Got) {
	ctx, cancel := context.WithTimeout(r.t.Context(), ample)
	defer cancel()
	stream, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		got.err = err
		return
	}
	_ = stream.SetDeadline(time.Now().Add(ample))
	var sending sync.WaitGroup
	sending.Go(func() { c.send(got.h3Planned, stream) })
	defer sending.Wait()
	in := io.Reader(stream)
	if got.leaves != "" && !got.sending && !got.ill() {
		in = &leaving{in, got.leaveAt, func() { c.leave(got.h3Planned, stream) }}
	}
	answer := answerOn(in)
	if answer.code != 0 {
		got.err = fmt.Errorf("code %#x", answer.code)
	}
	got.status, _ = strconv.Atoi(answer.status)
	res := &http.Response{StatusCode: got.status, Header: http.Header{"X-Id": {answer.fields["x-id"]}}, Body: io.NopCloser(strings.NewReader(answer.body))}
	body, _ := r.bodyOf(got.planned, res)
	got.n = len(body)
}

// ask makes one exchange with http3.
func (r *h3PlannedRun) ask(c *h3Client, got *h3Got) {
	ctx, stop := context.WithTimeout(r.t.Context(), ample)
	defer stop()
	method := http.MethodGet
	var payload io.Reader
	if got.posts > 0 {
		method, payload = http.MethodPost, strings.NewReader(text(got.id(), got.posts))
		if !got.counted {
			payload = io.MultiReader(payload)
		}
	}
	req, _ := http.NewRequestWithContext(ctx, method, r.g.url(got.path()), payload)
	req.Header.Set("X-Id", got.id())
	if got.leaves == "cancels" {
		time.AfterFunc(time.Duration(got.leaveAt)*20*time.Nanosecond, stop)
	}
	res, err := c.http.RoundTrip(req)
	if err != nil {
		got.err = err
		return
	}
	defer res.Body.Close()
	body, err := r.bodyOf(got.planned, res)
	got.status, got.n, got.err = res.StatusCode, len(body), err
}

// exchange makes one, and looks at what the client gets.
func (r *h3PlannedRun) exchange(c *h3Client, got *h3Got) {
	if got.raw {
		r.write(c, got)
	} else {
		r.ask(c, got)
	}
	if !got.fits() {
		r.t.Errorf("got %v", got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[got.path()] = got
}

// fits reports whether the client may get this.
func (got *h3Got) fits() bool {
	right := got.right(got.status, got.n, got.err != nil)
	switch {
	case got.status == 0 && got.leaves == "" && !got.disturbed:
		return got.err != nil && got.right(200, 0, true) // a reset may overtake the head
	case got.err != nil && (got.disturbed || got.leaves != ""):
		return got.leaves != "short" || got.disturbed || got.early // to which there is a whole answer
	case got.ill() && got.status == 400:
		return true
	case got.ill() && !got.early && got.leaves != "long":
		return got.status == 504 && got.ends == "stalls" // it came too slowly
	case got.status != 200:
		return right && got.err == nil
	}
	return right
}

// fitsReport reports whether this is what has happened.
func (got *h3Got) fitsReport(x *Report) bool {
	switch {
	case got.status != 0 && x.Status != got.status, x.Protocol != "HTTP/3.0":
		return false
	case got.status == 200 && got.err == nil: // it is whole
		return x.Cause == exchange.CauseNone && x.Sent == int64(got.n)
	case got.n > int(x.Sent):
		return false
	}
	switch x.Cause {
	case exchange.CauseClientGone:
		return got.disturbed || got.leaves != ""
	case exchange.CauseBadRequest:
		return got.ill()
	case exchange.CauseNone:
		return x.Status == 200 && (got.disturbed || got.leaves != "") && got.right(x.Status, int(x.Sent), false)
	}
	return got.right(x.Status, int(x.Sent), true)
}

// compareH3 looks at the Reports of all exchanges, which are over.
func (r *h3PlannedRun) compareH3() {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	counts := map[string]int{}
	for i := range r.g.exchanges {
		x := &r.g.exchanges[i]
		counts[x.Path]++
		if got := r.all[x.Path]; got == nil && x.Path != "/settled" {
			r.t.Errorf("reported is what nobody asked for: %+v", *x)
		} else if got != nil && !got.fitsReport(x) {
			r.t.Errorf("reported as %+v, and was %v", *x, got)
		}
	}
	for path, got := range r.all {
		if n := counts[path]; n > 1 || n == 0 && (got.status != 0 || got.leaves == "" && !got.disturbed) {
			r.t.Errorf("reported %d times: %v", n, got)
		}
	}
}

// client makes all exchanges of one.
func (r *h3PlannedRun) client(random *rand.Rand) {
	var c *h3Client
	for range h3PlannedRounds {
		var all []*h3Planned
		for range 1 + random.IntN(6) {
			all = append(all, planH3(random.Uint64()))
		}
		wrecked := slices.ContainsFunc(all, (*h3Planned).wrecks)
		if wrecked && c != nil {
			c.close()
			c = nil
		}
		if c == nil {
			config := &quic.Config{}
			if wrecked {
				config.MaxIdleTimeout = vanishing
			}
			if c = r.g.dialPlanned(config); c == nil {
				return
			}
		}
		var streams sync.WaitGroup
		for _, p := range all {
			streams.Go(func() { r.exchange(c, &h3Got{h3Planned: p, disturbed: wrecked}) })
		}
		streams.Wait()
		if wrecked {
			c.close()
			c = nil
		}
	}
	if c != nil {
		c.close()
	}
}

// countedBody is a body that is counted as it is read.
type countedBody struct {
	io.ReadCloser
	n     int
	ended bool
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += n
	b.ended = b.ended || err == io.EOF
	return n, err
}

// serve is the upstream's part on one connection.
func (r *h3PlannedRun) serve(conn net.Conn, in *bufio.Reader) {
	serveCounted(conn, in, func(number uint64) (*planned, func(*http.Request, int)) {
		p := planH3(number)
		return p.planned, func(_ *http.Request, n int) {
			if n != p.posts {
				r.t.Errorf("%d bytes are passed on as the whole body of %+v, %+v", n, *p, *p.planned)
			}
		}
	})
}

// serveCounted is an upstream's part on one connection. plan tells of each exchange, and gets
// to know of how many bytes a body is that came to its end.
func serveCounted(conn net.Conn, in *bufio.Reader, plan func(number uint64) (*planned, func(*http.Request, int))) {
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.URL.Path == "/settled" {
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(conn, whole(req))
			continue
		}
		number, _ := strconv.ParseUint(req.Header.Get("X-Id"), 36, 64)
		p, came := plan(number)
		body := &countedBody{ReadCloser: req.Body}
		req.Body = body
		goesOn := p.serve(conn, req)
		if body.ended {
			came(req, body.n)
		}
		if !goesOn {
			return
		}
	}
}

// TestRandomFaultsHTTP3 is TestRandomFaults for clients that speak HTTP/3: they leave streams
// and connections in all ways that there are, and send what is malformed.
func TestRandomFaultsHTTP3(t *testing.T) {
	settings := Settings{MaxIdlePerEndpoint: loadIdle, ConnectTimeout: ample, ReadHeaderTimeout: ample}
	run(t, []mode{h3Mode}, settings, func(t *testing.T, g *gateway) {
		r := &h3PlannedRun{plannedRun: plannedRun{t: t, g: g}, all: map[string]*h3Got{}}
		g.route("/", rawBackend(t, r.serve))
		g.route("/stalls", rawBackend(t, r.serve)).Action.BackendTimeout = stallLimit
		g.apply()
		r.play(seedsOf(t, 0, 1, 2), h3PlannedClients, r.client, r.settle)
		r.compareH3()
	})
}
