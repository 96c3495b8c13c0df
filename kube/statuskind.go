package kube

import (
	"context"
	"encoding/json"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayx "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

// fieldManager names the writer of our fields in managedFields.
const fieldManager = "lintel"

// statusKind is one kind whose status is written.
type statusKind struct {
	get   func(ctx context.Context, ref gateway.ObjectRef) (metav1.Object, error)
	merge func(m merger, current metav1.Object, want *gateway.Status) statusFields
	patch func(ctx context.Context, ref gateway.ObjectRef, patch []byte) (metav1.Object, error)
	// released is what to want of an object that was wanted and is no longer; nil
	// leaves its status as it is.
	released func(current metav1.Object, was *gateway.Status) *gateway.Status
}

// statusClient is the part of a typed client that a status is written with.
type statusClient[T metav1.Object] interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (T, error)
	Patch(ctx context.Context, name string, t types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (T, error)
}

func newStatusKind[T metav1.Object](client func(namespace string) statusClient[T], merge func(merger, T, *gateway.Status) statusFields) statusKind {
	return statusKind{
		get: func(ctx context.Context, ref gateway.ObjectRef) (metav1.Object, error) {
			return client(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		},
		merge: func(m merger, current metav1.Object, want *gateway.Status) statusFields {
			return merge(m, current.(T), want)
		},
		patch: func(ctx context.Context, ref gateway.ObjectRef, patch []byte) (metav1.Object, error) {
			return client(ref.Namespace).Patch(ctx, ref.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, "status")
		},
		released: func(metav1.Object, *gateway.Status) *gateway.Status { return nil },
	}
}

// newRouteKind is for Routes of any kind: parts reads what they have in common.
func newRouteKind[T metav1.Object](client func(namespace string) statusClient[T], parts func(T) (*gatewayv1.CommonRouteSpec, *gatewayv1.RouteStatus)) statusKind {
	k := newStatusKind(client, func(m merger, o T, want *gateway.Status) statusFields {
		spec, status := parts(o)
		return m.route(routeObject{o.GetNamespace(), spec.ParentRefs, status.Parents}, want.Route)
	})
	k.released = func(current metav1.Object, was *gateway.Status) *gateway.Status {
		return &gateway.Status{Object: was.Object, UID: was.UID, Generation: current.GetGeneration(), Route: &gateway.RouteStatus{}}
	}
	return k
}

// newPolicyKind is for policies of any kind.
func newPolicyKind[T metav1.Object](client func(namespace string) statusClient[T], status func(T) *gatewayv1.PolicyStatus) statusKind {
	k := newStatusKind(client, func(m merger, o T, want *gateway.Status) statusFields {
		return m.policy(policyObject{o.GetNamespace(), status(o).Ancestors}, want.Policy)
	})
	k.released = func(current metav1.Object, was *gateway.Status) *gateway.Status {
		return &gateway.Status{Object: was.Object, UID: was.UID, Generation: current.GetGeneration(), Policy: &gateway.PolicyStatus{}}
	}
	return k
}

// statusKinds returns what a StatusWriter can write, by kind.
func statusKinds(c clients) map[string]statusKind {
	kinds := routeStatusKinds(c)
	ingress := newStatusKind(
		func(ns string) statusClient[*networkingv1.Ingress] { return c.kubernetes.NetworkingV1().Ingresses(ns) },
		func(m merger, o *networkingv1.Ingress, want *gateway.Status) statusFields {
			return m.ingress(o, want.Ingress)
		})
	ingress.released = func(current metav1.Object, was *gateway.Status) *gateway.Status {
		if !equality.Semantic.DeepEqual(current.(*networkingv1.Ingress).Status.LoadBalancer, *was.Ingress) {
			return nil // its next controller was quicker
		}
		return &gateway.Status{Object: was.Object, UID: was.UID, Ingress: &networkingv1.IngressLoadBalancerStatus{}}
	}
	kinds["Ingress"] = ingress
	kinds["GatewayClass"] = newStatusKind(
		func(string) statusClient[*gatewayv1.GatewayClass] { return c.gateway.GatewayClasses() },
		func(m merger, o *gatewayv1.GatewayClass, want *gateway.Status) statusFields {
			return m.gatewayClass(o, want.GatewayClass)
		})
	kinds["Gateway"] = newStatusKind(
		func(ns string) statusClient[*gatewayv1.Gateway] { return c.gateway.Gateways(ns) },
		func(m merger, o *gatewayv1.Gateway, want *gateway.Status) statusFields {
			return m.gateway(o, want.Gateway)
		})
	kinds["ListenerSet"] = newStatusKind(
		func(ns string) statusClient[*gatewayv1.ListenerSet] { return c.gateway.ListenerSets(ns) },
		func(m merger, o *gatewayv1.ListenerSet, want *gateway.Status) statusFields {
			return m.listenerSet(o, want.ListenerSet)
		})
	kinds["BackendTLSPolicy"] = newPolicyKind(
		func(ns string) statusClient[*gatewayv1.BackendTLSPolicy] { return c.gateway.BackendTLSPolicies(ns) },
		func(o *gatewayv1.BackendTLSPolicy) *gatewayv1.PolicyStatus { return &o.Status })
	kinds["XBackendTrafficPolicy"] = newPolicyKind(
		func(ns string) statusClient[*gatewayx.XBackendTrafficPolicy] {
			return c.experimental.XBackendTrafficPolicies(ns)
		},
		func(o *gatewayx.XBackendTrafficPolicy) *gatewayv1.PolicyStatus { return &o.Status })
	kinds[dnsapi.KindDNSEndpoint] = newDNSEndpointStatusKind(c)
	kinds[v1alpha1.KindTunnel] = newTunnelStatusKind(c)
	return kinds
}

func routeStatusKinds(c clients) map[string]statusKind {
	type (
		spec   = *gatewayv1.CommonRouteSpec
		status = *gatewayv1.RouteStatus
	)
	return map[string]statusKind{
		"HTTPRoute": newRouteKind(
			func(ns string) statusClient[*gatewayv1.HTTPRoute] { return c.gateway.HTTPRoutes(ns) },
			func(o *gatewayv1.HTTPRoute) (spec, status) { return &o.Spec.CommonRouteSpec, &o.Status.RouteStatus }),
		"GRPCRoute": newRouteKind(
			func(ns string) statusClient[*gatewayv1.GRPCRoute] { return c.gateway.GRPCRoutes(ns) },
			func(o *gatewayv1.GRPCRoute) (spec, status) { return &o.Spec.CommonRouteSpec, &o.Status.RouteStatus }),
		"TLSRoute": newRouteKind(
			func(ns string) statusClient[*gatewayv1.TLSRoute] { return c.gateway.TLSRoutes(ns) },
			func(o *gatewayv1.TLSRoute) (spec, status) { return &o.Spec.CommonRouteSpec, &o.Status.RouteStatus }),
		"TCPRoute": newRouteKind(
			func(ns string) statusClient[*gatewayv1.TCPRoute] { return c.gateway.TCPRoutes(ns) },
			func(o *gatewayv1.TCPRoute) (spec, status) { return &o.Spec.CommonRouteSpec, &o.Status.RouteStatus }),
		"UDPRoute": newRouteKind(
			func(ns string) statusClient[*gatewayv1.UDPRoute] { return c.gateway.UDPRoutes(ns) },
			func(o *gatewayv1.UDPRoute) (spec, status) { return &o.Spec.CommonRouteSpec, &o.Status.RouteStatus }),
	}
}

// mergePatch is a JSON merge patch that applies to one version of an object alone.
func mergePatch(current metav1.Object, status statusFields) ([]byte, error) {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": current.GetUID(), "resourceVersion": current.GetResourceVersion()},
		"status":   status,
	})
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return patch, nil
}
