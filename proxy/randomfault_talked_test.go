package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"

	"github.com/lintel-dev/lintel/proxy/exchange"
)

// talked is what became of a plannedTalk.
type talked struct {
	*plannedTalk
	h1, h3    bool            // the client's protocol
	lax       bool            // its TLS is Go's in the gateway
	status    int             // 0 for none
	body      string          // of an answer that does not agree
	client    *conversation   // nil where there is none
	upstreams []*conversation // one for each attempt
}

// compareTalks looks at what became of all.
func (r *talkRun) compareTalks() {
	reports := map[string][]Report{}
	r.g.mu.Lock()
	for i := range r.g.exchanges {
		x := &r.g.exchanges[i]
		reports[x.Path] = append(reports[x.Path], *x)
	}
	r.g.mu.Unlock()
	r.mu.Lock() // an upstream may still learn that its client has left before it answered
	defer r.mu.Unlock()
	for _, x := range r.talks {
		for _, fault := range append(x.faults(), x.misreported(reports[x.path()])...) {
			r.t.Errorf("%s: %s", fault, x)
		}
	}
}

func (x *talked) String() string {
	s := fmt.Sprintf("status %d", x.status)
	for _, c := range append([]*conversation{x.client}, x.upstreams...) {
		if c != nil {
			s += fmt.Sprintf("; said %d, heard %d, %v, %v", c.said, c.heard.Len(), c.end, c.broken)
		}
	}
	return s + ": " + x.plannedTalk.String()
}

// agreed reports whether both sides have spoken another protocol.
func (x *talked) agreed() bool { return x.answer == "agrees" && x.status == x.plannedTalk.status(x.h1) }

// unsound reports whether one side must see that the other did not say all. The TLS of Go takes
// the end of a connection for a goodbye, where it is none inside a record.
func (x *talked) unsound(t *talker) bool {
	lax := x.lax
	if t == &x.upstream {
		lax = x.road == secureRoad
	}
	return t.ends == "resets" || t.ends == "cuts" && !lax
}

// ended reports whether it has heard an orderly end. The kernel tells of a reset once, and maybe in
// a write.
func (c *conversation) ended() bool {
	return c.end == io.EOF && !errors.Is(c.broken, syscall.ECONNRESET)
}

// faults are what must not be in what both sides got.
func (x *talked) faults() (all []string) {
	fault := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	switch want := x.plannedTalk.status(x.h1); {
	case x.client == nil, x.status == 0 && x.client.mine.abrupt():
	case (x.status == 502 || x.status == 0 && x.h3) && x.answer == "agrees" && x.upstream.abrupt():
	case x.status != want:
		fault("want status %d", want)
	case (want == 403 || want == 200 && x.h1) && x.body != x.words(&x.upstream):
		fault("a body of %d bytes", len(x.body))
	}
	if x.agreed() && (len(x.upstreams) == 0 || len(x.upstreams) > 1 && !x.upstream.abrupt()) {
		fault("%d attempts", len(x.upstreams))
	}
	for _, c := range append([]*conversation{x.client}, x.upstreams...) {
		if c == nil {
			continue
		}
		orderly := c.ended() || c.mine.ends == "leaves"
		heard := c.heard.String()
		switch said := x.words(c.other); {
		case !strings.HasPrefix(said, heard):
			fault("of another exchange")
		case isTimeout(c.end):
			fault("no end")
		case x.agreed() && !x.abrupt() && (!orderly || heard != said):
			fault("not all arrives")
		case heard == "" && x.client.heard.Len() == 0: // the client may have left before the upgrade
		case x.agreed() && x.unsound(c.other) && !c.mine.abrupt() && c.ended():
			fault("what was reset ends in order")
		}
	}
	return all
}

// misreported are the faults in the Reports of the exchange.
func (x *talked) misreported(reports []Report) (all []string) {
	fault := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if len(reports) == 0 && x.status == 0 {
		return nil
	}
	if len(reports) != 1 {
		return []string{fmt.Sprintf("reported %d times", len(reports))}
	}
	report := &reports[0]
	in, out, status := int64(x.plannedTalk.client.size), int64(x.upstream.size), x.status
	if x.h1 {
		in += int64(x.posts)
	}
	if x.agreed() {
		status = http.StatusSwitchingProtocols
	}
	switch {
	case status != 0 && report.Status != status:
		fault("reported is status %d", report.Status)
	case status == 502 && report.Cause == exchange.CauseClientGone && x.plannedTalk.client.abrupt():
	case status == 502 && report.Cause != x.cause(), x.agreed() && report.Cause != exchange.CauseNone:
		fault("reported is cause %q", report.Cause)
	case !x.agreed():
	case !x.abrupt() && (report.Received != in || report.Sent != out):
		fault("reported are %d bytes in and %d out", report.Received, report.Sent)
	case report.Received > in, report.Sent > out, report.Sent < int64(x.client.heard.Len()), report.Received < int64(x.upstreams[len(x.upstreams)-1].heard.Len()):
		fault("reported are %d bytes in and %d out", report.Received, report.Sent)
	}
	return all
}
