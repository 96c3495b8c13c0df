//go:build linux

package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/proxy/exchange"
	"github.com/lintel-dev/lintel/router"
)

// FuzzAgainstNetHTTP sends requests through both lanes to an upstream that reads with
// net/http. It has to read what net/http reads in the client's bytes, in the same
// order, but for the fields that end at a proxy and for those that a proxy writes.
func FuzzAgainstNetHTTP(f *testing.F) {
	for i, seed := range append(laneSeeds(), attackSeeds(f)...) {
		if len(seed.input) < mostSeed {
			f.Add([]byte(seed.input), sometimes(i))
		}
	}
	up := newPlayer(f)
	l := &bothLanes{upstream: up}
	var pair [2]*gateway
	for i, lane := range []exchange.Lane{exchange.LaneAuto, exchange.LaneFull} {
		pair[i] = newGateway(f, plainMode, laneSettings(0, lane))
		pair[i].route("/", backendAt(up.listener.Addr()))
		pair[i].apply()
	}
	f.Fuzz(func(t *testing.T, input []byte, how byte) {
		if bytes.HasPrefix(input, []byte("PRI")) {
			return // HTTP/2
		}
		for i, g := range pair {
			p := l.pass(t, g, sending{input: string(input), how: how, calm: calm})
			forwarded := &translation{t: t, lane: laneNames[i], input: input, rest: input, upstream: p.raw, port: p.port}
			forwarded.check(p.answered)
		}
	})
}

// translation is what became of the requests in an input.
type translation struct {
	t        *testing.T
	lane     string
	input    []byte
	rest     []byte   // of the input
	upstream []string // by connection
	port     string   // of the gateway
}

func (x *translation) errorf(format string, args ...any) {
	x.t.Helper()
	x.t.Errorf("%s lane: %q: "+format, slices.Concat([]any{x.lane, x.input}, args)...)
}

// check goes through the exchanges in their order.
func (x *translation) check(exchanges []Report) {
	x.t.Helper()
	for i := range exchanges {
		sent, err := x.nextSent()
		if exchanges[i].Attempts == 0 {
			if err != nil {
				break // it was refused
			}
			continue
		}
		if err != nil {
			if !x.beyondNetHTTP(err) {
				x.errorf("request %d went upstream, and net/http refuses it: %v", i+1, err)
			}
			return
		}
		if !x.compare(sent, &exchanges[i]) {
			return
		}
	}
	for _, left := range x.upstream {
		if left != "" {
			x.errorf("the upstream got %q, which belongs to no exchange", left)
		}
	}
}

// message is a request with its body, as far as it is there.
type message struct {
	*http.Request
	raw  []byte // its head, and more
	body []byte
	err  error // of the body
}

// nextMessage reads one as net/http does, and returns what is left.
func nextMessage(stream []byte) (*message, []byte, error) {
	left := bytes.NewReader(stream)
	in := bufio.NewReader(left)
	req, err := http.ReadRequest(in)
	if err != nil {
		return nil, nil, err
	}
	m := &message{Request: req, raw: stream}
	m.body, m.err = io.ReadAll(req.Body)
	return m, stream[len(stream)-left.Len()-in.Buffered():], nil
}

// nextSent is the next request in the input. Empty lines before it are allowed.
func (x *translation) nextSent() (m *message, err error) {
	m, x.rest, err = nextMessage(bytes.TrimLeft(x.rest, "\r\n"))
	return m, err
}

// beyondNetHTTP reports whether net/http refuses what is in order: see package h1.
func (x *translation) beyondNetHTTP(err error) bool {
	_, isURL := errors.AsType[*url.Error](err)
	return isURL || bytes.Contains(bytes.ToLower(x.input), []byte("\ntrailer:"))
}

// compare holds the next request that the upstream has got against what was sent, and
// reports whether another can follow.
func (x *translation) compare(sent *message, report *Report) bool {
	x.t.Helper()
	for len(x.upstream) > 0 && x.upstream[0] == "" {
		x.upstream = x.upstream[1:]
	}
	if len(x.upstream) == 0 {
		return false // it was given up before anything went out
	}
	got, rest, err := nextMessage([]byte(x.upstream[0]))
	if err != nil {
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			x.errorf("the upstream cannot read %q: %v", x.upstream[0], err)
		}
		return false
	}
	x.upstream[0] = string(rest)
	if got.Method != sent.Method || got.RequestURI != targetOf(sent) || got.Host != sent.Host && sent.Host != "" {
		x.errorf("the upstream got %s %s for %q, want %s %s for %q", got.Method, got.RequestURI, got.Host, sent.Method, targetOf(sent), sent.Host)
	}
	x.compareFields(sent, got)
	x.compareBody(sent, got, report)
	return sent.err == nil && got.err == nil
}

// targetOf is the normalised origin-form of the target.
func targetOf(m *message) string {
	target := m.RequestURI
	if target == "*" {
		return target
	}
	if !strings.HasPrefix(target, "/") {
		_, target, _ = strings.Cut(target, "://")
		target = target[len(target)-len(strings.TrimLeftFunc(target, func(r rune) bool { return r != '/' && r != '?' })):]
	}
	path, query, asks := strings.Cut(target, "?")
	path, _ = router.NormalizePath(path)
	if asks {
		path += "?" + query
	}
	return path
}

func (x *translation) compareFields(sent, got *message) {
	x.t.Helper()
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Port": x.port,
		"X-Request-Id": idOf(sent, got), "X-Forwarded-Host": sent.Host,
	} {
		if values := got.Header.Values(name); !slices.Equal(values, []string{want}) && want != "" {
			x.errorf("%s is %q, want %q", name, values, want)
		}
	}
	want, have := endToEnd(sent), endToEnd(got)
	if !reflect.DeepEqual(want, have) {
		x.errorf("the upstream got the fields %q, want %q", have, want)
	}
}

// idOf is the client's first identifier that can be kept, or else ours.
func idOf(sent, got *message) string {
	const most = 128
	for name, values := range sent.Header {
		if strings.ReplaceAll(strings.ToLower(name), "_", "-") != "x-request-id" {
			continue
		}
		for _, id := range values {
			if id != "" && len(id) <= most {
				return got.Header.Get("X-Request-Id") // one of perhaps several spellings
			}
		}
	}
	id := got.Header.Get("X-Request-Id")
	if randomID.MatchString("\r\nX-Request-Id: " + id) {
		return id
	}
	return "(random)"
}

// endToEnd are the fields that a proxy passes on as they are (RFC 9110 section 7.6.1),
// but for those about forwarding.
func endToEnd(m *message) http.Header {
	ending := []string{"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "content-length", "host",
		"forwarded", "x-real-ip", "x-request-id"}
	head, _, _ := bytes.Cut(m.raw, []byte("\r\n\r\n"))
	for line := range strings.SplitSeq(string(head), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(name, "Connection") { // net/http takes some of them out
			continue
		}
		for option := range strings.SplitSeq(value, ",") {
			ending = append(ending, strings.ToLower(strings.Trim(option, " \t")))
		}
	}
	kept := http.Header{}
	for name, values := range m.Header {
		lower := strings.ToLower(name)
		dashed := strings.ReplaceAll(lower, "_", "-")
		if slices.Contains(ending, lower) || strings.HasPrefix(dashed, "x-forwarded-") {
			continue
		}
		if lower != dashed && slices.Contains([]string{"content-length", "transfer-encoding", "forwarded", "x-real-ip", "x-request-id"}, dashed) {
			continue
		}
		kept[name] = values
	}
	return kept
}

// compareBody compares as much of the bodies as there is: if the client's is whole, so
// is the upstream's.
func (x *translation) compareBody(sent, got *message, report *Report) {
	x.t.Helper()
	if sent.err != nil && strings.Contains(sent.err.Error(), "chunk") && bytes.ContainsAny(x.input, ";") {
		return // net/http is stricter with white space before a chunk extension
	}
	if !bytes.HasPrefix(sent.body, got.body) {
		x.errorf("the upstream got the body %q, want %q", got.body, sent.body)
	}
	if sent.err != nil {
		if got.err == nil {
			x.errorf("the upstream got all of a body that is broken off: %q", got.body)
		}
		return
	}
	if got.err != nil && report.Cause == exchange.CauseBadRequest {
		return // the codec refuses more than net/http does
	}
	if got.err != nil || len(got.body) != len(sent.body) {
		x.errorf("the upstream got the body %q, %v, want %q", got.body, got.err, sent.body)
		return
	}
	for name, values := range got.Trailer {
		for _, value := range values {
			if !slices.Contains(sent.Trailer[name], value) {
				x.errorf("the upstream got a trailer %s: %q", name, value)
			}
		}
	}
}
