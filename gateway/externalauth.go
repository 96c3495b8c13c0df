package gateway

import (
	"fmt"
	"strings"

	"golang.org/x/net/http/httpguts"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// maxAuthBody bounds what an authorization server is sent of a body, in bytes: so much may
// be kept in memory for each request.
const maxAuthBody = 1 << 20

// parsedAuth is one ExternalAuth.
type parsedAuth struct {
	ref  int                 // in parsedRoute.refs
	auth router.ExternalAuth // without Backend
}

// by completes it with its Backend. Without one all requests are refused.
func (p *parsedAuth) by(backends []*router.Backend) *router.ExternalAuth {
	auth := p.auth
	auth.Backend = backends[p.ref]
	return &auth
}

// externalAuth parses an ExternalAuth (GEP-1494).
func (p *routeParser) externalAuth(field string, f *gatewayv1.HTTPExternalAuthFilter) *parsedAuth {
	a := &parsedAuth{ref: p.ref(field+".backendRef", &f.BackendRef)}
	switch f.ExternalAuthProtocol {
	case gatewayv1.HTTPRouteExternalAuthHTTPProtocol:
		if c := f.HTTPAuthConfig; c != nil {
			a.auth.Path = p.authPath(field+".http.path", c.Path)
			a.auth.RequestFields = p.fieldNames(field+".http.allowedHeaders", c.AllowedRequestHeaders)
			a.auth.ResponseFields = p.fieldNames(field+".http.allowedResponseHeaders", c.AllowedResponseHeaders)
		}
	case gatewayv1.HTTPRouteExternalAuthGRPCProtocol:
		a.auth.Protocol = router.AuthGRPC
		p.parsed.refs[a.ref].use = useGRPC
		if c := f.GRPCAuthConfig; c != nil {
			a.auth.RequestFields = p.fieldNames(field+".grpc.allowedHeaders", c.AllowedRequestHeaders)
		}
	default:
		p.invalid(field+".protocol", fmt.Sprintf("%q is not supported; use HTTP or GRPC", f.ExternalAuthProtocol))
	}
	if b := f.ForwardBody; b != nil {
		a.auth.MaxBody = int(b.MaxSize)
		if b.MaxSize < 0 || b.MaxSize > maxAuthBody {
			p.invalid(field+".forwardBody.maxSize", fmt.Sprintf("%d is not supported; give 0 to %d bytes", b.MaxSize, maxAuthBody))
		}
	}
	return a
}

// authPath returns what stands before a path, which begins with a slash.
func (p *routeParser) authPath(field, path string) string {
	if path == "" {
		return ""
	}
	return strings.TrimSuffix(p.pathText(field, "/"+strings.TrimPrefix(path, "/")), "/")
}

func (p *routeParser) fieldNames(field string, names []string) []string {
	for i, n := range names {
		if !httpguts.ValidHeaderFieldName(n) {
			p.invalid(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%q is not a header name", n))
		}
	}
	return names
}
