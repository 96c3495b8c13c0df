package main

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
)

// keepClasses removes the classes that the settings leave out from a snapshot,
// so that what names them is nobody's here. It replaces slices and does not
// change them.
func (s *Settings) keepClasses(snapshot *gateway.Snapshot) {
	if len(s.GatewayClasses) > 0 {
		var kept []*gatewayv1.GatewayClass
		for _, class := range snapshot.GatewayClasses {
			if slices.Contains(s.GatewayClasses, class.Name) {
				kept = append(kept, class)
			}
		}
		snapshot.GatewayClasses = kept
	}
	if len(s.IngressClasses) > 0 {
		var kept []*networkingv1.IngressClass
		for _, class := range snapshot.IngressClasses {
			if slices.Contains(s.IngressClasses, class.Name) {
				kept = append(kept, class)
			}
		}
		snapshot.IngressClasses = kept
	}
}
