package router

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// naiveMatch is Match as the specification tells it: look at every rule, keep those
// that match, and take the first by the list of criteria.
func naiveMatch(hosts []HostRules, socket string, r *Request) *Rule {
	var listener *HostRules
	for i := range hosts {
		h := &hosts[i]
		if h.Socket != socket || !naiveHost(h.ListenerHost, r.Host, false) {
			continue
		}
		if listener == nil || naiveSpecificity(h.ListenerHost, false) > naiveSpecificity(listener.ListenerHost, false) {
			listener = h
		}
	}
	if listener == nil {
		return nil
	}
	var best *Rule
	var bestHost *HostRules
	for i := range hosts {
		h := &hosts[i]
		if h.Socket != socket || h.ListenerHost != listener.ListenerHost || !naiveHost(h.Host, r.Host, h.OneLabel) {
			continue
		}
		for _, rule := range h.Rules {
			if !naiveHolds(&rule.Match, r) {
				continue
			}
			if best == nil || naivePrecedes(h, rule, bestHost, best) {
				best, bestHost = rule, h
			}
		}
	}
	return best
}

func naiveHost(pattern, host string, oneLabel bool) bool {
	suffix, isWildcard := strings.CutPrefix(pattern, "*")
	if !isWildcard {
		return pattern == "" || pattern == host
	}
	front, ok := strings.CutSuffix(host, suffix)
	return ok && front != "" && (!oneLabel || !strings.Contains(front, "."))
}

func naiveSpecificity(pattern string, oneLabel bool) int {
	switch {
	case pattern == "":
		return 0
	case !strings.HasPrefix(pattern, "*"):
		return 3000
	case oneLabel:
		return 2000
	}
	return 1000 + len(pattern)
}

func naivePrefix(value string) string {
	path, _ := NormalizePath(value)
	return strings.TrimSuffix(path, "/")
}

func naiveHolds(m *Match, r *Request) bool {
	switch m.Path.Kind {
	case PathExact:
		if path, _ := NormalizePath(m.Path.Value); path != r.Path {
			return false
		}
	case PathRegex:
		if !m.Path.Regexp.MatchString(r.Path) {
			return false
		}
	case PathPrefix:
		if !strings.HasPrefix(r.Path+"/", naivePrefix(m.Path.Value)+"/") || m.Path.Regexp != nil && !m.Path.Regexp.MatchString(r.Path) {
			return false
		}
	}
	if m.Method != "" && m.Method != r.Method {
		return false
	}
	for _, want := range m.Headers {
		var values []string
		for _, f := range r.Fields {
			if strings.EqualFold(f.Name, want.Name) {
				values = append(values, f.Value)
			}
		}
		if len(values) == 0 || !naiveValue(want, strings.Join(values, ",")) {
			return false
		}
	}
	for _, want := range m.Query {
		i := slices.IndexFunc(strings.Split(r.Query, "&"), func(pair string) bool {
			name, _, _ := strings.Cut(pair, "=")
			return naiveDecode(name) == want.Name
		})
		if i < 0 {
			return false
		}
		_, value, _ := strings.Cut(strings.Split(r.Query, "&")[i], "=")
		if !naiveValue(want, naiveDecode(value)) {
			return false
		}
	}
	return true
}

func naiveValue(want ValueMatch, value string) bool {
	if want.Regexp != nil {
		return want.Regexp.MatchString(value)
	}
	return want.Value == value
}

var escapes = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

func naiveDecode(s string) string {
	return escapes.ReplaceAllStringFunc(strings.ReplaceAll(s, "+", " "), func(escape string) string {
		c, _ := url.PathUnescape(escape)
		return c
	})
}

func naivePrecedes(xHost *HostRules, x *Rule, yHost *HostRules, y *Rule) bool {
	measures := func(h *HostRules, r *Rule) []int {
		kind := map[PathKind]int{PathExact: 3, PathRegex: 2, PathPrefix: 1}[r.Match.Path.Kind]
		length := len(r.Match.Path.Value)
		if r.Match.Path.Kind == PathPrefix {
			length = len(naivePrefix(r.Match.Path.Value))
		}
		method, narrowing := 0, 0
		if r.Match.Path.Kind == PathPrefix && r.Match.Path.Regexp != nil {
			narrowing = len(r.Match.Path.Regexp.String())
		}
		if r.Match.Method != "" {
			method = 1
		}
		if r.Match.Path.Kind == PathExact {
			length = 0 // exact paths that both match are the same path
		}
		return []int{naiveSpecificity(h.Host, h.OneLabel), kind, length, narrowing, method, len(r.Match.Headers), len(r.Match.Query)}
	}
	if c := slices.Compare(measures(xHost, x), measures(yHost, y)); c != 0 {
		return c > 0
	}
	return cmp.Or(cmp.Compare(x.Order.Created, y.Order.Created),
		cmp.Compare(x.Order.Name, y.Order.Name), cmp.Compare(x.Order.Index, y.Order.Index)) < 0
}

// draw turns bytes into choices; when they run out, every choice is the first.
type draw struct {
	data  []byte
	rules int
}

func (d *draw) n(limit int) int {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return int(b) % limit
}

func (d *draw) of(choices ...string) string { return choices[d.n(len(choices))] }

func (d *draw) host() string {
	host := d.of("a", "b", "x")
	for range d.n(4) {
		host = d.of("a", "b", "xx") + "." + host
	}
	return host
}

func (d *draw) pattern() string {
	switch d.n(4) {
	case 0:
		return ""
	case 1:
		return "*." + d.host()
	}
	return d.host()
}

func (d *draw) path() string {
	path := "/" + d.of("", "a", "b", "ab")
	for range d.n(4) {
		path += "/" + d.of("", "a", "b", "%7e", "~", "c%2fd", "C%2Fd")
	}
	return path
}

func anchored(expression string) *regexp.Regexp {
	return regexp.MustCompile("^(?:" + expression + ")$")
}

func (d *draw) pathMatch() PathMatch {
	switch d.n(6) {
	case 0:
		return PathMatch{}
	case 3:
		return PathMatch{Kind: PathPrefix, Value: d.path(), Regexp: anchored(d.of("/.*b", "/[ab]+/b", ".*", "/[^/]+/a"))}
	case 1:
		e := d.of("/a.*", "/.*b", "/[ab]", "/.*/b", "/a", ".*", "/a/?(b)?")
		return PathMatch{Kind: PathRegex, Value: e, Regexp: anchored(e)}
	case 2:
		return PathMatch{Kind: PathExact, Value: d.path()}
	}
	return PathMatch{Kind: PathPrefix, Value: d.path()}
}

func (d *draw) valueMatch(name string, values ...string) ValueMatch {
	m := ValueMatch{Name: name}
	if d.n(3) == 0 {
		m.Value = d.of("1.*", "(1|2),?.*", "a b", ".*")
		m.Regexp = anchored(m.Value)
	} else {
		m.Value = d.of(values...)
	}
	return m
}

func (d *draw) rule() *Rule {
	d.rules++
	r := &Rule{
		Match: Match{Path: d.pathMatch(), Method: d.of("", "", "GET", "POST")},
		Order: Order{Created: int64(d.n(2)), Name: d.of("n/a", "n/b"), Index: d.rules},
	}
	for range d.n(3) {
		r.Match.Headers = append(r.Match.Headers, d.valueMatch(d.of("x-one", "X-Two"), "1", "2", "1,2", "", ",", "2,2,1"))
	}
	for range d.n(3) {
		r.Match.Query = append(r.Match.Query, d.valueMatch(d.of("p", "p q"), "1", "a b", "ü", "", "%zz", "+"))
	}
	return r
}

func (d *draw) hosts() []HostRules {
	var hosts []HostRules
	for range 1 + d.n(8) {
		h := HostRules{Socket: d.of(":80", ":81"), ListenerHost: d.pattern(), Host: d.pattern()}
		if d.n(3) > 0 {
			h.ListenerHost = ""
		}
		h.OneLabel = strings.HasPrefix(h.Host, "*") && d.n(2) == 1
		for range d.n(6) {
			h.Rules = append(h.Rules, d.rule())
		}
		hosts = append(hosts, h)
	}
	return hosts
}

func (d *draw) request() *Request {
	path, _ := NormalizePath(d.path())
	r := &Request{Method: d.of("GET", "POST", "get"), Host: d.host(), Path: path}
	for range d.n(4) {
		r.Fields = append(r.Fields, Field{Name: d.of("X-One", "x-two", "x-three"), Value: d.of("1", "2", "", "1,2")})
	}
	for range d.n(4) {
		r.Query += d.of("", "&") + d.of("p=1", "p=a+b", "p=a%20b", "p%20q=1", "p+q=%c3%BC", "p", "p=%zz", "=1", "p=%2B", "q=1") + "&"
	}
	return r
}

// checkTables compares Match with naiveMatch on a table that was compiled after
// another one, so that some trees are kept, some change and some are new.
func checkTables(t *testing.T, data []byte) {
	t.Helper()
	d := &draw{data: data}
	hosts := d.hosts()
	before := slices.Clone(hosts[:d.n(len(hosts)+1)])
	for i := range before {
		before[i].Rules = slices.Clone(before[i].Rules)
		slices.Reverse(before[i].Rules)
		if d.n(2) == 1 && len(before[i].Rules) > 0 {
			before[i].Rules[0] = d.rule()
		}
	}
	table := Compile(hosts, Compile(before, nil))
	for range 1 + d.n(20) {
		socket, r := d.of(":80", ":81", ":82"), d.request()
		if got, want := table.Match(socket, r), naiveMatch(hosts, socket, r); got != want {
			t.Fatalf("Match(%q, %+v)\n got %s\nwant %s", socket, *r, describe(got), describe(want))
		}
	}
}

func describe(r *Rule) string {
	if r == nil {
		return "no rule"
	}
	return fmt.Sprintf("%+v %+v", r.Match, r.Order)
}

func FuzzMatch(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		data := make([]byte, 300)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(checkTables)
}

func TestMatchEqualsNaiveScan(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	data := make([]byte, 1000)
	for range 5000 {
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		checkTables(t, data)
	}
}
