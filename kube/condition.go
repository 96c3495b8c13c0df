package kube

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
)

// The types of condition that we are responsible for: one that is not wanted is
// removed. Every other type belongs to somebody else and stays as it is.

func classConditions() []string {
	return []string{string(gatewayv1.GatewayClassConditionStatusAccepted), string(gatewayv1.GatewayClassConditionStatusSupportedVersion)}
}

func gatewayConditions() []string {
	return []string{
		string(gatewayv1.GatewayConditionAccepted), string(gatewayv1.GatewayConditionProgrammed), string(gatewayv1.GatewayConditionResolvedRefs),
		string(gatewayv1.GatewayConditionInsecureFrontendValidationMode), string(gatewayv1.GatewayConditionAddressesAssigned), "lintel.dev/NoService",
		"lintel.dev/TunnelConnected",
	}
}

func listenerSetConditions() []string {
	return []string{string(gatewayv1.ListenerSetConditionAccepted), string(gatewayv1.ListenerSetConditionProgrammed)}
}

// listenerConditions are those of a Listener, be it of a Gateway or of a ListenerSet.
func listenerConditions() []string {
	return []string{
		string(gatewayv1.ListenerConditionAccepted), string(gatewayv1.ListenerConditionConflicted), string(gatewayv1.ListenerConditionResolvedRefs),
		string(gatewayv1.ListenerConditionProgrammed), string(gatewayv1.ListenerConditionOverlappingTLSConfig),
	}
}

// routeConditions are those of a Route's entries under our controller name, but for those that
// it keeps.
func routeConditions(want *gateway.RouteStatus) []string {
	own := []string{
		string(gatewayv1.RouteConditionAccepted), string(gatewayv1.RouteConditionResolvedRefs), string(gatewayv1.RouteConditionPartiallyInvalid),
		"lintel.dev/Shadowed",
	}
	if !want.KeepsRecords {
		own = append(own, gateway.ConditionRecords)
	}
	return own
}

// policyConditions are those of a policy's entries under our controller name.
func policyConditions() []string {
	return []string{string(gatewayv1.PolicyConditionAccepted), string(gatewayv1.BackendTLSPolicyConditionResolvedRefs)}
}

func tunnelConditions() []string { return []string{"Accepted", "Connected", "DNS"} }
