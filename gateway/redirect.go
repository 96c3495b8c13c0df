package gateway

import (
	"fmt"
	"net/http"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// redirect parses a RequestRedirect; what it leaves to the Listener is completed
// by redirectOn.
func (p *routeParser) redirect(field string, f *gatewayv1.HTTPRequestRedirectFilter) *router.Redirect {
	r := &router.Redirect{
		Scheme:   valueOr(f.Scheme, ""),
		Hostname: valueOr(f.Hostname, ""),
		Path:     p.pathModifier(field+".path", f.Path),
		Status:   http.StatusFound,
	}
	if f.Port != nil {
		r.Port = int(*f.Port)
	}
	if f.StatusCode != nil {
		r.Status = *f.StatusCode
	}
	if r.Scheme != "" && r.Scheme != schemeHTTP && r.Scheme != schemeHTTPS {
		p.invalid(field+".scheme", fmt.Sprintf("%q is not supported; use http or https", r.Scheme))
	}
	switch r.Status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		p.invalid(field+".statusCode", fmt.Sprintf("%d is not supported; use 301, 302, 303, 307 or 308", r.Status))
	}
	return r
}

func (p *routeParser) pathModifier(field string, m *gatewayv1.HTTPPathModifier) router.PathModifier {
	switch {
	case m == nil:
		return router.PathModifier{}
	case m.Type == gatewayv1.FullPathHTTPPathModifier && m.ReplaceFullPath != nil:
		return router.PathModifier{Kind: router.ReplaceFullPath, Value: p.pathText(field+".replaceFullPath", *m.ReplaceFullPath)}
	case m.Type == gatewayv1.PrefixMatchHTTPPathModifier && m.ReplacePrefixMatch != nil:
		return router.PathModifier{Kind: router.ReplacePrefix, Value: p.pathText(field+".replacePrefixMatch", *m.ReplacePrefixMatch)}
	default:
		p.invalid(field+".type", fmt.Sprintf("%q is not supported; use ReplaceFullPath or ReplacePrefixMatch", m.Type))
		return router.PathModifier{}
	}
}

// pathText returns a path as it may stand in a request line or a Location: it is held
// to what requests are held to.
func (p *routeParser) pathText(field, path string) string {
	if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '?' || r == '#' }) {
		p.invalid(field, fmt.Sprintf("%q has characters that a path cannot have; write them percent-encoded", path))
		return path
	}
	trimmed := strings.TrimPrefix(path, "/")
	normal, ok := router.NormalizePath("/" + trimmed)
	if !ok {
		p.invalid(field, fmt.Sprintf("%q has a percent sign that two hexadecimal digits do not follow", path))
	}
	if trimmed == path { // a prefix may be replaced by nothing, or without a slash
		return strings.TrimPrefix(normal, "/")
	}
	return normal
}

// redirectOn completes a redirect for requests that come in by an entry, by the
// rules of HTTPRequestRedirectFilter.port: without a scheme, the Listener's scheme
// and port; with one, its well-known port; and a well-known port is left out.
func redirectOn(r router.Redirect, e entry) *router.Redirect {
	if r.Port == 0 && r.Scheme == "" {
		r.Port = e.port
	}
	if r.Scheme == "" {
		r.Scheme = e.scheme
	}
	if (r.Scheme == schemeHTTP && r.Port == 80) || (r.Scheme == schemeHTTPS && r.Port == 443) {
		r.Port = 0
	}
	return &r
}

const (
	schemeHTTP  = "http"
	schemeHTTPS = "https"
)
