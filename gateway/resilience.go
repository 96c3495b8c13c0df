package gateway

import (
	"fmt"
	"hash/fnv"
	"strings"

	"golang.org/x/net/http/httpguts"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// retry parses the retries of a rule (GEP-1731).
func (p *routeParser) retry(field string, r *gatewayv1.HTTPRouteRetry) *router.Retry {
	if r == nil {
		return nil
	}
	retry := &router.Retry{Attempts: 1, Backoff: p.duration(field+".backoff", r.Backoff)} // as HTTPRouteRetry has it
	if r.Attempts != nil {
		retry.Attempts = *r.Attempts
	}
	if retry.Attempts < 0 {
		p.invalid(field+".attempts", fmt.Sprintf("%d is less than 0, which already turns retries off", retry.Attempts))
	}
	for i, code := range r.Codes {
		if code < 400 || code > 599 {
			p.invalid(fmt.Sprintf("%s.codes[%d]", field, i), fmt.Sprintf("%d is not the status of an error; give one from 400 to 599", code))
		}
		retry.Codes = append(retry.Codes, int(code))
	}
	return retry
}

// session parses the session persistence of a rule (GEP-1619).
func (p *routeParser) session(field string, s *gatewayv1.SessionPersistence) *router.Session {
	if s == nil {
		return nil
	}
	session := &router.Session{Absolute: p.duration(field+".absoluteTimeout", s.AbsoluteTimeout)}
	kind := valueOr(s.Type, string(gatewayv1.CookieBasedSessionPersistence))
	switch {
	case kind == string(gatewayv1.CookieBasedSessionPersistence):
		session.Name, session.Path = p.sessionName(field), "/"
		if s.Cookie != nil {
			p.sessionCookie(field, s, session)
		}
	case kind == string(gatewayv1.HeaderBasedSessionPersistence) && s.Header != nil:
		session.Header, session.Name = true, string(s.Header.Name)
		if !httpguts.ValidHeaderFieldName(session.Name) {
			p.invalid(field+".header.name", fmt.Sprintf("%q is not a header name", session.Name))
		}
	case kind == string(gatewayv1.HeaderBasedSessionPersistence):
		p.invalid(field+".header", "is missing; name the header that carries the session")
	default:
		p.invalid(field+".type", fmt.Sprintf("%q is not supported; use Cookie or Header", kind))
	}
	return session
}

func (p *routeParser) sessionCookie(field string, s *gatewayv1.SessionPersistence, session *router.Session) {
	session.Name = valueOr(s.Cookie.Name, session.Name)
	if !httpguts.ValidHeaderFieldName(session.Name) { // a token too (RFC 6265 §4.1.1)
		p.invalid(field+".cookie.name", fmt.Sprintf("%q is not the name of a cookie", session.Name))
	}
	session.Path = valueOr(s.Cookie.Path, session.Path)
	if !strings.HasPrefix(session.Path, "/") || strings.ContainsFunc(session.Path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ';' }) {
		p.invalid(field+".cookie.path", fmt.Sprintf("%q is not the path of a cookie; begin with a slash, without blanks and semicolons", session.Path))
	}
	switch kind := valueOr(s.Cookie.LifetimeType, string(gatewayv1.SessionCookieLifetimeType)); kind {
	case string(gatewayv1.SessionCookieLifetimeType):
	case string(gatewayv1.PermanentCookieLifetimeType):
		session.Permanent = true
		if session.Absolute <= 0 {
			p.invalid(field+".absoluteTimeout", "is missing; it is the lifetime of a cookie of lifetimeType Permanent")
		}
	default:
		p.invalid(field+".cookie.lifetimeType", fmt.Sprintf("%q is not supported; use Session or Permanent", kind))
	}
}

// sessionName is the name of a cookie that has none of its own: the same for as long as
// the rule stands in its place, and another for every rule.
func (p *routeParser) sessionName(field string) string {
	h := fnv.New32a()
	h.Write([]byte(p.object.String() + " " + field))
	return fmt.Sprintf("lintel-%08x", h.Sum32())
}
