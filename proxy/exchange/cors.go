package exchange

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/router"
)

// With a CORS filter the gateway alone decides which origins' scripts may read responses
// (GEP-1767, Fetch §3.3): it answers preflight requests, and what the upstream says about
// CORS is replaced.

// corsFields are the fields of CORS responses, in lower case and without their prefix.
const corsPrefix = "access-control-"

const allOrigins = "*"

// preflights reports whether the request is a preflight (Fetch §3.3.2).
func (x *Exchange) preflights() bool {
	if x.Request.Method != http.MethodOptions {
		return false
	}
	_, asks := router.Lookup(x.Request.Fields, "Access-Control-Request-Method")
	_, hasOrigin := router.Lookup(x.Request.Fields, "Origin")
	return asks && hasOrigin
}

// matchPreflight finds the Rule that answers a preflight: when there is none with CORS for
// OPTIONS, that of the request which is asked about, as Rules may match methods. One that
// matches OPTIONS by name has precedence.
func (x *Exchange) matchPreflight(table *router.Table) {
	if x.Rule != nil && (x.Rule.Action.CORS != nil || x.Rule.Match.Method != "") {
		return
	}
	asked := x.Match
	asked.Method, _ = router.Lookup(x.Request.Fields, "Access-Control-Request-Method")
	if rule := table.Match(x.Client.Socket, &asked); rule != nil && rule.Action.CORS != nil {
		x.Rule = rule
	}
}

// cors is the CORS of the Rule, or nil.
func (x *Exchange) cors() *router.CORS {
	if x.Rule == nil {
		return nil
	}
	return x.Rule.Action.CORS
}

// shareWith returns the value of Access-Control-Allow-Origin: "" if the origin may not
// read the response.
func (x *Exchange) shareWith(c *router.CORS) string {
	if anyOrigin(c) {
		return allOrigins // said to everybody, so that caches need not tell origins apart
	}
	origin, ok := router.Lookup(x.Request.Fields, "Origin")
	if !ok || !slices.ContainsFunc(c.AllowOrigins, func(allowed string) bool { return originMatches(allowed, origin) }) {
		return ""
	}
	return origin
}

// anyOrigin reports whether responses are the same for all origins. With credentials "*"
// would not be heard (Fetch §4.9).
func anyOrigin(c *router.CORS) bool {
	return !c.AllowCredentials && slices.Contains(c.AllowOrigins, allOrigins)
}

// originMatches reports whether an origin fits one of AllowOrigins.
func originMatches(allowed, origin string) bool {
	if allowed == allOrigins {
		return true
	}
	wantScheme, wantHost, wantPort := splitOrigin(allowed)
	scheme, host, port := splitOrigin(origin)
	if host == "" || !strings.EqualFold(scheme, wantScheme) || port != wantPort {
		return false
	}
	suffix, isWildcard := strings.CutPrefix(wantHost, "*")
	if !isWildcard {
		return strings.EqualFold(host, wantHost)
	}
	at := len(host) - len(suffix)
	return at > 0 && strings.EqualFold(host[at:], suffix)
}

// splitOrigin takes an origin apart; without a port it has its scheme's. The host is ""
// when it is none, such as "null".
func splitOrigin(origin string) (scheme, host, port string) {
	scheme, host, ok := strings.Cut(origin, "://")
	if !ok {
		return "", "", ""
	}
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		return scheme, host[:colon], host[colon+1:]
	}
	switch {
	case strings.EqualFold(scheme, "https"):
		port = "443"
	case strings.EqualFold(scheme, "http"):
		port = "80"
	}
	return scheme, host, port
}

// replaceCORS makes the fields of a response say what the Rule says about CORS.
func (x *Exchange) replaceCORS(fields []router.Field, c *router.CORS) []router.Field {
	fields = slices.DeleteFunc(fields, isCORS)
	return x.appendCORS(fields, c)
}

func isCORS(field router.Field) bool {
	return len(field.Name) > len(corsPrefix) && folds(field.Name[:len(corsPrefix)], corsPrefix)
}

// appendCORS appends what every response says.
func (x *Exchange) appendCORS(fields []router.Field, c *router.CORS) []router.Field {
	if !anyOrigin(c) {
		fields = varyByOrigin(fields)
	}
	origin := x.shareWith(c)
	if origin == "" {
		return fields
	}
	exposed := strings.Join(c.ExposeHeaders, ", ")
	if c.AllowCredentials && slices.Contains(c.ExposeHeaders, "*") {
		exposed = namesOf(fields) // as "*" would be a name
	}
	fields = append(fields, router.Field{Name: "Access-Control-Allow-Origin", Value: origin})
	if c.AllowCredentials {
		fields = append(fields, router.Field{Name: "Access-Control-Allow-Credentials", Value: "true"})
	}
	if exposed != "" {
		fields = append(fields, router.Field{Name: "Access-Control-Expose-Headers", Value: exposed})
	}
	return fields
}

// namesOf lists the names of fields.
func namesOf(fields []router.Field) string {
	var names []string
	for i := range fields {
		name := fields[i].Name
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// varyByOrigin tells caches that the response is another for other origins.
func varyByOrigin(fields []router.Field) []router.Field {
	for i := range fields {
		if !strings.EqualFold(fields[i].Name, "Vary") {
			continue
		}
		for name := range strings.SplitSeq(fields[i].Value, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Origin") {
				return fields
			}
		}
	}
	return append(fields, router.Field{Name: "Vary", Value: "Origin"})
}

// appendPreflight appends what the answer to a preflight says beside that. Where all is
// allowed it repeats what was asked about, since "*" is heard neither with credentials nor
// for Authorization.
func (x *Exchange) appendPreflight(fields []router.Field, c *router.CORS) []router.Field {
	if x.shareWith(c) == "" {
		return fields
	}
	fields = x.appendAllowed(fields, c.AllowMethods, "Access-Control-Allow-Methods", "Access-Control-Request-Method")
	fields = x.appendAllowed(fields, c.AllowHeaders, "Access-Control-Allow-Headers", "Access-Control-Request-Headers")
	if seconds := int64(c.MaxAge / time.Second); seconds > 0 {
		fields = append(fields, router.Field{Name: "Access-Control-Max-Age", Value: strconv.FormatInt(seconds, 10)})
	}
	return fields
}

func (x *Exchange) appendAllowed(fields []router.Field, allowed []string, name, asks string) []router.Field {
	value := strings.Join(allowed, ", ")
	if slices.Contains(allowed, "*") {
		value, _ = router.Lookup(x.Request.Fields, asks)
	}
	if value == "" {
		return fields
	}
	return append(fields, router.Field{Name: name, Value: value})
}
