package exchange

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/lintel-dev/lintel/router"
)

// Where a client finds the same origin over HTTP/3 (RFC 7838, RFC 9114 §3.1.1): on the
// UDP port of the number that it came to by TCP. That is the one that its Host names,
// which is right behind address translation too, where our own socket has another one.
// A client remembers it for a day: when UDP does not get through it stays with TCP.
const (
	altSvcStart   = `h3=":`
	altSvcEnd     = `"; ma=86400`
	altSvcDefault = altSvcStart + "443" + altSvcEnd
)

// appendAltSvc says that there is HTTP/3, unless the upstream or a filter has decided
// about the field.
func (x *Exchange) appendAltSvc(fields []router.Field) []router.Field {
	if !x.Client.AltSvc || slices.ContainsFunc(fields, isAltSvc) {
		return fields
	}
	if x.Chosen != nil && (decides(x.Rule.Action.ResponseHeaders, altSvcName) || decides(x.Chosen.ResponseHeaders, altSvcName)) {
		return fields
	}
	value := altSvcDefault
	if port := x.cameTo(); port != "443" {
		x.altSvc = append(append(append(x.altSvc[:0], altSvcStart...), port...), altSvcEnd...)
		value = unsafe.String(unsafe.SliceData(x.altSvc), len(x.altSvc))
	}
	return append(fields, router.Field{Name: altSvcName, Value: value})
}

const altSvcName = "Alt-Svc"

func isAltSvc(field router.Field) bool {
	return len(field.Name) == len(altSvcName) && strings.EqualFold(field.Name, altSvcName)
}

// cameTo is the port that the client connected to, as it sees it.
func (x *Exchange) cameTo() string {
	host := x.Request.Host
	if host == "" {
		return x.Client.Port
	}
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || colon+1 == len(host) || strings.IndexByte(host[colon:], ']') >= 0 {
		return "443" // of https, the only scheme that HTTP/3 has
	}
	return host[colon+1:]
}
