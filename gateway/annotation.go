package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/internal/nearest"
)

// annotationPrefix is that of our own annotations.
const annotationPrefix = "lintel.dev/"

const annotationProxyProtocol = annotationPrefix + "proxy-protocol"

// annotationKinds are the annotations that users may write, with the kinds of objects that
// they are read from. Whatever else begins with our prefix is a mistake.
func annotationKinds() map[string][]string {
	return map[string][]string{
		annotationProxyProtocol: {kindService},
		annotationIssuer:        {kindGateway, kindListenerSet, kindIngress},
	}
}

// reasonUnknownAnnotation marks an annotation with our prefix that has no effect.
const reasonUnknownAnnotation = "UnknownAnnotation"

// checkAnnotations reports the annotations of an object of ours that begin with our
// prefix, and that are not read.
func (b *build) checkAnnotations(ref ObjectRef, object metav1.Object) {
	var names []string
	for name := range object.GetAnnotations() {
		if strings.HasPrefix(name, annotationPrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if why := unknownAnnotation(ref.Kind, name); why != "" {
			b.report(Problem{ref, "metadata.annotations", reasonUnknownAnnotation, why})
		}
	}
}

// checkServices checks the annotations of the Services that are used.
func (b *build) checkServices() {
	checked := make(map[types.NamespacedName]bool)
	for key := range b.memo.backends {
		if service := b.services[key.Service]; service != nil && !checked[key.Service] {
			checked[key.Service] = true
			b.checkAnnotations(ObjectRef{kindService, service.Namespace, service.Name}, service)
		}
	}
}

// unknownAnnotation says why an annotation has no effect on objects of a kind, "" if it has.
func unknownAnnotation(kind, name string) string {
	known := annotationKinds()
	kinds, ok := known[name]
	switch {
	case ok && slices.Contains(kinds, kind):
		return ""
	case ok:
		return fmt.Sprintf("%q has no effect on a %s; it belongs on a %s", name, kind, strings.Join(kinds, ", a "))
	}
	all := slices.Sorted(maps.Keys(known))
	if near := nearest.Of(name, all); near != "" {
		return fmt.Sprintf("%q is not known; did you mean %q, on a %s?", name, near, strings.Join(known[near], ", a "))
	}
	return fmt.Sprintf("%q is not known; there is %s", name, quoted(all))
}
