package kube

import (
	"maps"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// caBundleKey is the key of a ConfigMap that the Gateway API reads certificates
// from (caCertificateRefs of a BackendTLSPolicy or a Gateway).
const caBundleKey = "ca.crt"

// metadataDiffers reports whether the metadata that every kind is read for differs.
func metadataDiffers(was, is metav1.Object) bool {
	return was.GetUID() != is.GetUID() ||
		(was.GetDeletionTimestamp() == nil) != (is.GetDeletionTimestamp() == nil) ||
		!maps.Equal(was.GetLabels(), is.GetLabels()) || !maps.Equal(was.GetAnnotations(), is.GetAnnotations())
}

// generationDiffers is for kinds whose generation the API server counts up with
// every change of the spec, and not with the status.
func generationDiffers[T metav1.Object](was, is T) bool {
	return was.GetGeneration() != is.GetGeneration()
}

// gatewayDiffers also asks for the addresses in the status: one of an address pool stays
// with the Gateway that has it there, whichever replica wrote it.
func gatewayDiffers(was, is *gatewayv1.Gateway) bool {
	return generationDiffers(was, is) || !equality.Semantic.DeepEqual(was.Status.Addresses, is.Status.Addresses)
}

func serviceDiffers(was, is *corev1.Service) bool {
	return !equality.Semantic.DeepEqual(&was.Spec, &is.Spec) || !equality.Semantic.DeepEqual(&was.Status.LoadBalancer, &is.Status.LoadBalancer)
}

func secretDiffers(was, is *corev1.Secret) bool {
	return was.Type != is.Type || !equality.Semantic.DeepEqual(was.Data, is.Data)
}

// trimConfigMap keeps CA bundles only: a cluster's ConfigMaps can be many megabytes.
func trimConfigMap(c *corev1.ConfigMap) {
	for key := range c.Data {
		if key != caBundleKey {
			delete(c.Data, key)
		}
	}
	for key := range c.BinaryData {
		if key != caBundleKey {
			delete(c.BinaryData, key)
		}
	}
}

func configMapDiffers(was, is *corev1.ConfigMap) bool {
	return !maps.Equal(was.Data, is.Data) || !equality.Semantic.DeepEqual(was.BinaryData, is.BinaryData)
}

func clusterTrustBundleDiffers(was, is *certificatesv1.ClusterTrustBundle) bool {
	return was.Spec != is.Spec
}

// trimNode keeps the addresses, and whether the node is cordoned off. The rest is long (every image on the node) or
// changes all the time (heartbeats, and annotations of network plugins).
func trimNode(n *corev1.Node) {
	n.Annotations = nil
	n.Spec = corev1.NodeSpec{Unschedulable: n.Spec.Unschedulable}
	n.Status = corev1.NodeStatus{Addresses: n.Status.Addresses}
}

func nodeDiffers(was, is *corev1.Node) bool {
	return was.Spec.Unschedulable != is.Spec.Unschedulable || !equality.Semantic.DeepEqual(was.Status.Addresses, is.Status.Addresses)
}

func endpointSliceDiffers(was, is *discoveryv1.EndpointSlice) bool {
	return was.AddressType != is.AddressType || !equality.Semantic.DeepEqual(was.Endpoints, is.Endpoints) ||
		!equality.Semantic.DeepEqual(was.Ports, is.Ports)
}

// byService is the index of EndpointSlices by "namespace/service".
const byService = "service"

func indexByService(o any) ([]string, error) {
	return []string{serviceOf(o.(metav1.Object)).String()}, nil
}

// serviceOf returns the Service that an EndpointSlice belongs to.
func serviceOf(slice metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: slice.GetNamespace(), Name: slice.GetLabels()[discoveryv1.LabelServiceName]}
}
