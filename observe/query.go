package observe

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/internal/nearest"
)

// The parameters of a Query, as in a URL. Filters may be given several times, or with
// commas between their values, of which one has to fit; all filters have to.
const (
	ParamKind      = "kind"
	ParamVerdict   = "verdict"
	ParamNamespace = "namespace"
	ParamPod       = "pod"
	ParamService   = "service"
	ParamHost      = "host"
	ParamStatus    = "status"
	ParamLast      = "last"
	ParamSince     = "since"
	ParamFollow    = "follow"
)

// Query says which Records of a Stream are wanted.
type Query struct {
	filters []filter
	// Last wants at most so many of the past, the newest; 0 for all that Since lets in.
	Last int
	// Since wants none of the past that ended before; zero for no limit.
	Since time.Time
	// Follow wants those to come. Without Last and Since it wants none of the past.
	Follow bool
}

// filter is one parameter: some value has to fit.
type filter struct {
	values []string
	fits   func(r *Record, value string) bool
}

// filterKind is how the values of a filter are checked and compared.
type filterKind struct {
	check func(value string) error // completes the sentence `status "x" …`
	fits  func(r *Record, value string) bool
}

// filterKinds are all filters, by parameter.
func filterKinds() map[string]filterKind {
	return map[string]filterKind{
		ParamKind: {oneOf("kind", string(KindL7), string(KindL4), string(KindStream)),
			func(r *Record, v string) bool { return string(r.Kind) == v }},
		ParamVerdict: {oneOf("verdict", verdicts()...),
			func(r *Record, v string) bool { return string(r.Verdict) == v }},
		ParamNamespace: {pattern, func(r *Record, v string) bool { return r.ofNamespace(v) }},
		ParamPod:       {pattern, func(r *Record, v string) bool { return r.Source.isPod(v) || r.Destination.isPod(v) }},
		ParamService:   {pattern, func(r *Record, v string) bool { return r.Source.isService(v) || r.Destination.isService(v) }},
		ParamHost: {pattern, func(r *Record, v string) bool {
			return r.Host != "" && like(strings.ToLower(v), strings.ToLower(r.Host))
		}},
		ParamStatus: {checkStatus, fitsStatus},
	}
}

func verdicts() []string {
	var all []string
	for _, v := range []Verdict{
		VerdictForwarded, VerdictAnswered, VerdictDenied, VerdictFailed, VerdictAborted,
		VerdictClosed, VerdictReset, VerdictTimeout, VerdictRefused,
	} {
		all = append(all, string(v))
	}
	return all
}

// ParseQuery reads a Query. now is what times like 5m are before. The error says which
// parameter is wrong, and what would be right.
func ParseQuery(values url.Values, now time.Time) (Query, error) {
	kinds := filterKinds()
	var q Query
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if kind, ok := kinds[name]; ok {
			f, err := parseFilter(name, values[name], kind)
			if err != nil {
				return Query{}, err
			}
			q.filters = append(q.filters, f)
			continue
		}
		if err := q.parse(name, values.Get(name), now); err != nil {
			return Query{}, err
		}
	}
	return q, nil
}

func parseFilter(name string, given []string, kind filterKind) (filter, error) {
	f := filter{fits: kind.fits}
	for value := range strings.SplitSeq(strings.Join(given, ","), ",") {
		value = strings.TrimSpace(value)
		if err := kind.check(value); err != nil {
			return filter{}, fmt.Errorf("%s %q %w", name, value, err)
		}
		f.values = append(f.values, value)
	}
	return f, nil
}

// parse reads what is no filter.
func (q *Query) parse(name, value string, now time.Time) error {
	var err error
	switch name {
	case ParamLast:
		if q.Last, err = strconv.Atoi(value); err != nil || q.Last < 1 {
			return fmt.Errorf("last %q must be a whole number, 1 or more", value)
		}
	case ParamSince:
		if q.Since, err = parseSince(value, now); err != nil {
			return fmt.Errorf("since %q must be a time with its unit, such as 30s or 5m, or a date like %s", value, now.UTC().Format(time.RFC3339))
		}
	case ParamFollow:
		if q.Follow, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("follow %q must be true or false", value)
		}
	default:
		known := append(slices.Sorted(maps.Keys(filterKinds())), ParamLast, ParamSince, ParamFollow)
		return fmt.Errorf("%q is none of %s%s", name, strings.Join(known, ", "), meant(name, known))
	}
	return nil
}

func parseSince(value string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(value); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Parse(time.RFC3339, value)
}

// Fits reports whether r, with its names, is wanted. Records of losses always are.
func (q *Query) Fits(r *Record) bool {
	if r.Kind == KindLost {
		return true
	}
	for i := range q.filters {
		f := &q.filters[i]
		if !slices.ContainsFunc(f.values, func(value string) bool { return f.fits(r, value) }) {
			return false
		}
	}
	return true
}

// Past returns those of the past that are wanted, of all that there are.
func (q *Query) Past(all []Record) []Record {
	if q.Follow && q.Last == 0 && q.Since.IsZero() {
		return nil
	}
	all = slices.DeleteFunc(all, func(r Record) bool { return r.Time.Before(q.Since) || !q.Fits(&r) })
	if q.Last > 0 && len(all) > q.Last {
		all = all[len(all)-q.Last:]
	}
	return all
}

// ofNamespace reports whether r concerns something in a namespace: an end, or the objects
// that said what to do.
func (r *Record) ofNamespace(v string) bool {
	if like(v, r.Source.Namespace) || like(v, r.Destination.Namespace) {
		return true
	}
	namespace, _, _ := strings.Cut(r.Backend, "/")
	if r.Backend != "" && like(v, namespace) {
		return true
	}
	_, object, _ := strings.Cut(r.Route, " ") // "HTTPRoute default/shop"
	namespace, _, _ = strings.Cut(object, "/")
	return object != "" && like(v, namespace)
}

func (p *Peer) isPod(v string) bool     { return p.Pod != "" && p.named(v, p.Pod) }
func (p *Peer) isService(v string) bool { return p.Service != "" && p.named(v, p.Service) }

// named compares with "name" or "namespace/name".
func (p *Peer) named(v, name string) bool {
	if strings.Contains(v, "/") {
		return like(v, p.Namespace+"/"+name)
	}
	return like(v, name)
}

// like compares with a pattern in which * stands for anything but a slash.
func like(pattern, text string) bool {
	ok, _ := path.Match(pattern, text) // checked before
	return ok
}

func pattern(value string) error {
	if _, err := path.Match(value, ""); err != nil || value == "" || strings.ContainsAny(value, `[]\?`) {
		return fmt.Errorf("must be a name, in which * stands for any letters, such as shop or shop-*")
	}
	return nil
}

func oneOf(what string, known ...string) func(string) error {
	return func(value string) error {
		if slices.Contains(known, value) {
			return nil
		}
		return fmt.Errorf("is no %s: %s%s", what, strings.Join(known, ", "), meant(value, known))
	}
}

// meant returns ` (did you mean …?)`, or nothing when no word is near.
func meant(word string, known []string) string {
	if best := nearest.Of(word, known); best != "" {
		return fmt.Sprintf(" (did you mean %s?)", best)
	}
	return ""
}

func checkStatus(value string) error {
	if _, _, ok := statusRange(value); !ok {
		return fmt.Errorf("must be a status such as 404, a class such as 5xx, or a range such as 500-503")
	}
	return nil
}

func fitsStatus(r *Record, value string) bool {
	first, last, _ := statusRange(value) // checked before
	return r.Status >= first && r.Status <= last && r.Status != 0
}

// statusRange reads "404", "5xx" and "500-503".
func statusRange(value string) (first, last int, ok bool) {
	if len(value) == 3 && strings.HasSuffix(strings.ToLower(value), "xx") {
		class := int(value[0] - '0')
		return class * 100, class*100 + 99, class >= 1 && class <= 5
	}
	from, to, ranged := strings.Cut(value, "-")
	if !ranged {
		to = from
	}
	first, err := strconv.Atoi(from)
	if err != nil {
		return 0, 0, false
	}
	last, err = strconv.Atoi(to)
	return first, last, err == nil && first >= 100 && last <= 599 && first <= last
}
