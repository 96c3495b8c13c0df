package router

import (
	"regexp"
	"time"
)

// Rule is one compiled match and its action. It is immutable once it stands in
// a [Table]; the same *Rule may stand in several Tables that follow each other. What every
// request needs comes first, here and in Action, to be in few cache lines.
type Rule struct {
	Action Action
	// Listener and Route name the API objects that the rule was made from, as
	// metrics and the access log show them: "Gateway default/web/http" and
	// "HTTPRoute default/shop".
	Listener string
	Route    string

	Match Match
	Order Order
}

// NewRule returns a copy of r. Its only Backend stands right before it, which most requests
// need as well: with thousands of Rules, what stands elsewhere is in no cache.
func NewRule(r Rule) *Rule {
	if len(r.Action.Backends) != 1 {
		return &r
	}
	both := &struct {
		backends [1]WeightedBackend
		rule     Rule
	}{rule: r}
	both.backends[0] = r.Action.Backends[0]
	both.rule.Action.Backends = both.backends[:]
	return &both.rule
}

// Match is the condition of a Rule. Zero fields match everything; a Path of the
// zero kind is the prefix "/".
type Match struct {
	Path    PathMatch
	Method  string
	Headers []ValueMatch // all must hold; names compare without case
	Query   []ValueMatch // all must hold; names compare exactly
}

// PathKind says how a PathMatch compares.
type PathKind uint8

const (
	// PathPrefix matches whole path elements: /a matches /a and /a/b, not /ab.
	PathPrefix PathKind = iota
	// PathExact matches the path as a whole, case included.
	PathExact
	// PathRegex matches the whole path against an RE2 expression.
	PathRegex
)

// PathMatch compares a request's path. Regexp is set for PathRegex, and is anchored at
// both ends. A PathPrefix may have one too, which must hold as well: it comes before the
// same prefix without one, and after longer prefixes.
type PathMatch struct {
	Kind   PathKind
	Value  string
	Regexp *regexp.Regexp
}

// ValueMatch compares one header or query parameter: exactly with Value, or with
// Regexp (anchored at both ends) when that is set.
type ValueMatch struct {
	Name   string
	Value  string
	Regexp *regexp.Regexp
}

// Order breaks ties between Rules whose matches are equally specific, in the
// words of HTTPRoute: the oldest Route, then "namespace/name" in alphabetical
// order, then the first rule in the Route. Created is in Unix nanoseconds.
type Order struct {
	Created int64
	Name    string
	Index   int // rule and match, in the order of the Route
}

// Action says what happens to a request that a Rule matched. The first that is
// set of Status, Redirect and Backends decides.
type Action struct {
	// Status answers at once with this code and no body from upstream; 0 means
	// no such answer.
	Status   int
	Redirect *Redirect

	// Backends are the weighted targets. With a total weight of zero the answer
	// is 500 (GEP-718 and HTTPRoute's BackendRefs).
	Backends []WeightedBackend

	// RequestTimeout bounds the whole exchange, BackendTimeout one attempt at an
	// upstream; 0 means no limit. Running out answers 504 (GEP-1742).
	RequestTimeout time.Duration
	BackendTimeout time.Duration

	RequestHeaders  *HeaderFilter
	ResponseHeaders *HeaderFilter
	Rewrite         *Rewrite
	CORS            *CORS
	Retry           *Retry
	Session         *Session
	Auth            *ExternalAuth
	Mirrors         []Mirror

	// Body is the text of the answer with Status, "" for the code in words.
	Body string
}

// WeightedBackend is one BackendRef of a Rule. A nil Backend stands for a
// reference that does not resolve: the share of requests that its weight gives
// it is answered with 500.
type WeightedBackend struct {
	Backend *Backend
	Weight  int

	RequestHeaders  *HeaderFilter
	ResponseHeaders *HeaderFilter
	// Rewrite takes the place of the Action's; nil leaves that.
	Rewrite *Rewrite
	// Session takes the place of the Action's; nil leaves that.
	Session *Session
	Mirrors []Mirror
}

// HeaderFilter changes fields: Set replaces, then Add appends, then Remove
// deletes, each by name without case.
type HeaderFilter struct {
	Set    []Field
	Add    []Field
	Remove []string
}

// PathModifier changes a path: ReplaceFullPath, or ReplacePrefix for the prefix
// that the Rule matched.
type PathModifier struct {
	Kind  PathModifierKind
	Value string
}

// PathModifierKind says what part of a path a PathModifier replaces.
type PathModifierKind uint8

const (
	// KeepPath leaves the path as it is.
	KeepPath PathModifierKind = iota
	// ReplaceFullPath replaces the path as a whole.
	ReplaceFullPath
	// ReplacePrefix replaces the prefix that the Rule matched.
	ReplacePrefix
)

// Rewrite changes the request line before it goes upstream. An empty Hostname
// keeps the client's.
type Rewrite struct {
	Hostname string
	Path     PathModifier
}

// Redirect answers with a Location. Scheme is "http" or "https"; an empty
// Hostname keeps the request's; a Port of 0 leaves the port out. Scheme and Port
// are resolved against the Listener when the Rule is made, by the rules of
// HTTPRequestRedirectFilter. Status is one of 301, 302, 303, 307 and 308.
type Redirect struct {
	Scheme   string
	Hostname string
	Port     int
	Path     PathModifier
	Status   int
}
