package externaldns

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The annotations of ExternalDNS that are understood, without their prefix.
const (
	annotationController     = "controller"
	annotationHostname       = "hostname"
	annotationTarget         = "target"
	annotationTTL            = "ttl"
	annotationProxied        = "cloudflare-proxied"
	annotationTags           = "cloudflare-tags"
	annotationComment        = "cloudflare-record-comment"
	annotationGatewaySource  = "gateway-hostname-source"
	annotationIngressSource  = "ingress-hostname-source"
	controllerOfDNS          = "dns-controller"
	sourceOfAnnotations      = "annotation-only"
	sourceOfDefinedHostnames = "defined-hosts-only"
)

// annotationPrefixes are those of ExternalDNS since v0.22 and before. Where an object
// has both, the first counts.
func annotationPrefixes() []string {
	return []string{"external-dns.kubernetes.io/", "external-dns.alpha.kubernetes.io/"}
}

// Mistake is an annotation that has no effect as it is.
type Mistake struct {
	Resource   string // like Record.Resource
	Annotation string // in full
	Reason     string
}

// annotations are those of one object.
type annotations map[string]string

// get returns the value of an annotation, and its name in full.
func (a annotations) get(name string) (value, full string) {
	for _, prefix := range annotationPrefixes() {
		if value, found := a[prefix+name]; found {
			return strings.TrimSpace(value), prefix + name
		}
	}
	return "", ""
}

// list reads names or addresses that commas part.
func (a annotations) list(name string) []string {
	value, _ := a.get(name)
	parts := strings.Split(strings.ReplaceAll(value, " ", ""), ",")
	return slices.DeleteFunc(parts, func(part string) bool { return part == "" })
}

// others tells whether the object is to be left to another program.
func (a annotations) others() bool {
	value, full := a.get(annotationController)
	return full != "" && value != controllerOfDNS
}

// LeftToOthers tells whether annotations leave an object to another program.
func LeftToOthers(all map[string]string) bool { return annotations(all).others() }

// settings are what annotations say about records but for their names and targets.
type settings struct {
	ttl     time.Duration
	proxied Proxied
	comment string
	tags    []string
}

// settings reads annotations, and calls mistake with what can't be read.
func (a annotations) settings(mistake func(annotation, reason string)) settings {
	var s settings
	if value, full := a.get(annotationTTL); full != "" {
		ttl, err := parseTTL(value)
		if err != nil {
			mistake(full, err.Error())
		}
		s.ttl = ttl
	}
	if value, full := a.get(annotationProxied); full != "" {
		switch value {
		case "true":
			s.proxied = ProxiedYes
		case "false":
			s.proxied = ProxiedNo
		default:
			mistake(full, fmt.Sprintf("%q is neither true nor false", value))
		}
	}
	s.comment, _ = a.get(annotationComment)
	if tags := a.list(annotationTags); len(tags) > 0 {
		s.tags = tags
	}
	return s
}

// parseTTL takes seconds, or a duration like 10m.
func parseTTL(value string) (time.Duration, error) {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil && seconds >= 1 && seconds <= math.MaxInt32 {
		return time.Duration(seconds) * time.Second, nil
	}
	ttl, err := time.ParseDuration(value)
	if ttl = ttl.Truncate(time.Second); err == nil && ttl >= time.Second && ttl/time.Second <= math.MaxInt32 {
		return ttl, nil
	}
	return 0, fmt.Errorf("%q is no time to live: write seconds, like 300, or a duration, like 5m", value)
}

// or fills in what s leaves open from others.
func (s settings) or(others settings) settings {
	if s.ttl == 0 {
		s.ttl = others.ttl
	}
	if s.proxied == ProxiedDefault {
		s.proxied = others.proxied
	}
	if s.comment == "" {
		s.comment = others.comment
	}
	if s.tags == nil {
		s.tags = others.tags
	}
	return s
}
