package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// classes finds the GatewayClasses and IngressClasses that name our controller,
// and gives the former their status.
func (b *build) classes() {
	for _, c := range b.GatewayClasses {
		if string(c.Spec.ControllerName) != b.Settings.ControllerName || !chosen(b.Settings.GatewayClasses, c.Name) {
			continue
		}
		fault := b.classTunnel(c)
		b.gatewayClasses[c.Name] = fault == nil
		b.gatewayClassStatus(c, fault)
	}
	for _, c := range b.IngressClasses {
		if c.Spec.Controller != b.Settings.IngressControllerName || !chosen(b.Settings.IngressClasses, c.Name) {
			continue
		}
		b.ingressClasses[c.Name] = true
		b.ingressClassTunnel(c)
		if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
			b.defaultIngress = true
		}
	}
}

// chosen reports whether a class is among those that the settings limit us to.
func chosen(names []string, name string) bool { return len(names) == 0 || slices.Contains(names, name) }

// classTunnel finds the Tunnel that a GatewayClass names, or returns why there is none.
func (b *build) classTunnel(c *gatewayv1.GatewayClass) *Problem {
	r := c.Spec.ParametersRef
	if r == nil {
		return nil
	}
	t, fault := b.tunnelOf(parameters{ObjectRef{Kind: kindGatewayClass, Name: c.Name}, "spec.parametersRef", string(r.Group), string(r.Kind), valueOr(r.Namespace, ""), r.Name})
	b.classTunnels[c.Name] = t
	return fault
}

// ingressClassTunnel finds the Tunnel that an IngressClass names. A class has no status: its
// mistakes are reported, and its Ingresses are served without a tunnel.
func (b *build) ingressClassTunnel(c *networkingv1.IngressClass) {
	r := c.Spec.Parameters
	if r == nil {
		return
	}
	t, fault := b.tunnelOf(parameters{ObjectRef{Kind: "IngressClass", Name: c.Name}, "spec.parameters", valueOr(r.APIGroup, ""), r.Kind, valueOr(r.Namespace, ""), r.Name})
	if fault != nil {
		b.report(*fault)
		return
	}
	b.ingressTunnels[c.Name] = t
}

func (b *build) gatewayClassStatus(c *gatewayv1.GatewayClass, wrong *Problem) {
	ref := ObjectRef{Kind: kindGatewayClass, Name: c.Name}
	accepted := truth(gatewayv1.GatewayClassConditionStatusAccepted, gatewayv1.GatewayClassReasonAccepted, "served by "+b.Settings.ControllerName)
	if wrong != nil {
		b.report(*wrong)
		accepted = fault(gatewayv1.GatewayClassConditionStatusAccepted, *wrong)
	}
	conditions := []metav1.Condition{accepted.at(c.Generation)}
	if v, ok := b.supportedVersion(c); ok {
		conditions = append(conditions, v.at(c.Generation))
	}
	b.addStatus(&Status{
		Object: ref, UID: c.UID, Generation: c.Generation,
		GatewayClass: &gatewayv1.GatewayClassStatus{
			Conditions:        conditions,
			SupportedFeatures: b.supportedFeatures(),
		},
	})
}

// supportedFeatures lists what is true of this version, sorted as the API wants it.
func (b *build) supportedFeatures() []gatewayv1.SupportedFeature {
	names := []features.FeatureName{
		features.SupportBackendTLSPolicy,
		features.SupportBackendTLSPolicySANValidation,
		features.SupportClusterTrustBundle,
		features.SupportGRPCRoute,
		features.SupportGRPCRouteNamedRouteRule,
		features.SupportGRPCRouteRequestHeaderModifier,
		features.SupportGateway,
		features.SupportGatewayAddressEmpty,
		features.SupportGatewayBackendClientCertificate,
		features.SupportGatewayFrontendClientCertificateValidation,
		features.SupportGatewayFrontendClientCertificateValidationInsecureFallback,
		features.SupportGatewayHTTPListenerIsolation,
		features.SupportGatewayHTTPSListenerDetectMisdirectedRequests,
		features.SupportGatewayListenerFilters,
		features.SupportGatewayPort8080,
		features.SupportGatewayRouteHostnameIntersectionPrecedence,
		features.SupportGatewayStaticAddresses,
		features.SupportHTTPRoute,
		features.SupportHTTPRoute303RedirectStatusCode,
		features.SupportHTTPRoute307RedirectStatusCode,
		features.SupportHTTPRoute308RedirectStatusCode,
		features.SupportHTTPRouteBackendProtocolH2C,
		features.SupportHTTPRouteBackendProtocolWebSocket,
		features.SupportHTTPRouteBackendRequestHeaderModification,
		features.SupportHTTPRouteBackendTimeout,
		features.SupportHTTPRouteBackendURLRewrite,
		features.SupportHTTPRouteCORS,
		features.SupportHTTPRouteDestinationPortMatching,
		features.SupportHTTPRouteHostRewrite,
		features.SupportHTTPRouteMethodMatching,
		features.SupportHTTPRouteNamedRouteRule,
		features.SupportHTTPRouteParentRefPort,
		features.SupportHTTPRoutePathRedirect,
		features.SupportHTTPRoutePathRewrite,
		features.SupportHTTPRoutePortRedirect,
		features.SupportHTTPRouteQueryParamMatching,
		features.SupportHTTPRouteRequestMirror,
		features.SupportHTTPRouteRequestMultipleMirrors,
		features.SupportHTTPRouteRequestPercentageMirror,
		features.SupportHTTPRouteRequestTimeout,
		features.SupportHTTPRouteResponseHeaderModification,
		features.SupportHTTPRouteRetryCodes,
		features.SupportHTTPRouteRetryConnectionError,
		features.SupportHTTPRouteSchemeRedirect,
		features.SupportListenerSet,
		features.SupportReferenceGrant,
		features.SupportTCPRoute,
		features.SupportTLSRoute,
		features.SupportTLSRouteModeMixed,
		features.SupportTLSRouteModeTerminate,
		features.SupportUDPRoute,
	}
	if b.reportsRoutability() {
		names = append(names, features.SupportGatewayAddressRoutability)
	}
	if b.Settings.GatewayServices {
		names = append(names, features.SupportGatewayInfrastructure)
	}
	slices.Sort(names)
	supported := make([]gatewayv1.SupportedFeature, len(names))
	for i, n := range names {
		supported[i].Name = gatewayv1.FeatureName(n)
	}
	return supported
}

// unclaimedClass reports an object whose class is not ours.
func (b *build) unclaimedClass(object ObjectRef, field, class string) {
	b.report(Problem{Object: object, Field: field, Reason: ReasonUnclaimed, Message: b.classMessage(object.Kind, class)})
}

func (b *build) classMessage(kind, class string) string {
	classKind, ours, controller := "GatewayClass", b.gatewayClasses, b.Settings.ControllerName
	owner := ""
	if kind == kindIngress {
		classKind, ours, controller = "IngressClass", b.ingressClasses, b.Settings.IngressControllerName
		for _, c := range b.IngressClasses {
			if c.Name == class {
				owner = c.Spec.Controller
			}
		}
	}
	for _, c := range b.GatewayClasses {
		if kind == kindGateway && c.Name == class {
			owner = string(c.Spec.ControllerName)
		}
	}
	switch {
	case owner == controller:
		return fmt.Sprintf("%s %q is not among those that the settings limit this instance to", classKind, class)
	case class == "":
		return fmt.Sprintf("no class is named, and no %s of %s is the default", classKind, controller)
	case owner != "":
		return fmt.Sprintf("%s %q belongs to %s, not to %s", classKind, class, owner, controller)
	case len(ours) == 0:
		return fmt.Sprintf("there is no %s %q, nor any other of %s", classKind, class, controller)
	default:
		names := slices.Sorted(maps.Keys(ours))
		return fmt.Sprintf("there is no %s %q; those of %s are: %s", classKind, class, controller, strings.Join(names, ", "))
	}
}
