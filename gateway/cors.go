package gateway

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/router"
)

// defaultCORSMaxAge is HTTPCORSFilter's, in seconds.
const defaultCORSMaxAge = 5

func (p *routeParser) cors(field string, f *gatewayv1.HTTPCORSFilter) *router.CORS {
	c := &router.CORS{
		AllowCredentials: f.AllowCredentials != nil && *f.AllowCredentials,
		MaxAge:           defaultCORSMaxAge * time.Second,
	}
	for i, o := range f.AllowOrigins {
		c.AllowOrigins = append(c.AllowOrigins, p.corsOrigin(fmt.Sprintf("%s.allowOrigins[%d]", field, i), string(o)))
	}
	c.AllowMethods = corsNames(p, field+".allowMethods", f.AllowMethods)
	c.AllowHeaders = corsNames(p, field+".allowHeaders", f.AllowHeaders)
	c.ExposeHeaders = corsNames(p, field+".exposeHeaders", f.ExposeHeaders)
	switch {
	case f.MaxAge > 0:
		c.MaxAge = time.Duration(f.MaxAge) * time.Second
	case f.MaxAge < 0:
		p.invalid(field+".maxAge", fmt.Sprintf("%d is not a number of seconds; give 1 or more", f.MaxAge))
	}
	return c
}

// corsOrigin returns an allowed origin as browsers write theirs: in lower case, and
// without the port that its scheme implies (Fetch, "serializing a request origin").
func (p *routeParser) corsOrigin(field, origin string) string {
	if origin == "*" {
		return origin
	}
	o := strings.ToLower(origin)
	u, err := url.Parse(o)
	if err != nil || (u.Scheme != schemeHTTP && u.Scheme != schemeHTTPS) || u.Hostname() == "" || u.Scheme+"://"+u.Host != o {
		p.invalid(field, fmt.Sprintf("%q is not an origin; write it like https://example.com, https://*.example.com or http://example.com:8080", origin))
		return o
	}
	host, isWildcard := strings.CutPrefix(u.Hostname(), "*")
	if strings.Contains(host, "*") || isWildcard && host != "" && host[0] != '.' {
		p.invalid(field, fmt.Sprintf("%q has a * that is not the first label of its host; write it like https://*.example.com", origin))
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			p.invalid(field, fmt.Sprintf("%q has the port %s; a port is a number from 1 to 65535", origin, port))
		}
		if u.Scheme == schemeHTTP && port == "80" || u.Scheme == schemeHTTPS && port == "443" {
			return strings.TrimSuffix(o, ":"+port)
		}
	}
	return o
}

// corsNames are methods or names of fields, or "*" for all.
func corsNames[T ~string](p *routeParser, field string, names []T) []string {
	var all []string
	for i, n := range names {
		if !httpguts.ValidHeaderFieldName(string(n)) { // a token, as methods are; "*" is one
			p.invalid(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%q is not a name that can stand in a header field", n))
		}
		all = append(all, string(n))
	}
	return all
}
