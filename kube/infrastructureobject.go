package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
)

const (
	// managedByLabel and managedBy tell other controllers whose the objects are.
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "lintel.dev"
	// digestAnnotation is over all that we want of an object, and keysAnnotation the
	// labels and annotations among it, so that those that are not wanted any more can be
	// told from those of others.
	digestAnnotation = "lintel.dev/digest"
	keysAnnotation   = "lintel.dev/keys"
)

// generate returns the objects that stand for a Gateway: a headless Service, since its
// endpoints are addresses that everybody can reach, and an EndpointSlice for each
// family of addresses.
func generate(i *gateway.Infrastructure) []object {
	service := &corev1.Service{ObjectMeta: generatedMeta(i, i.Name)}
	service.Spec.ClusterIP = corev1.ClusterIPNone
	for _, p := range i.Ports {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
	}
	objects := []object{sealed(service)}
	for _, family := range []struct {
		kind  discoveryv1.AddressType
		holds func(netip.Addr) bool
	}{{discoveryv1.AddressTypeIPv4, netip.Addr.Is4}, {discoveryv1.AddressTypeIPv6, netip.Addr.Is6}} {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  generatedMeta(i, i.Name+"-"+strings.ToLower(string(family.kind))),
			AddressType: family.kind,
		}
		slice.Labels[discoveryv1.LabelServiceName] = i.Name
		slice.Labels[discoveryv1.LabelManagedBy] = managedBy
		for _, p := range i.Ports {
			slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &p.Port})
		}
		for _, a := range i.Addresses {
			if family.holds(a) {
				ready := true
				slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
					Addresses: []string{a.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
				})
			}
		}
		if len(slice.Endpoints) > 0 {
			objects = append(objects, sealed(slice))
		}
	}
	return objects
}

func generatedMeta(i *gateway.Infrastructure, name string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Namespace: i.Gateway.Namespace, Name: name,
		Labels: map[string]string{managedByLabel: managedBy}, Annotations: make(map[string]string),
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: gatewayv1.GroupVersion.String(), Kind: "Gateway", Name: i.Gateway.Name, UID: i.UID, Controller: new(true),
		}},
	}
	maps.Copy(m.Labels, i.Labels)
	maps.Copy(m.Annotations, i.Annotations)
	return m
}

// sealed adds the annotations by which an object is compared with later ones.
func sealed[T object](o T) T {
	annotations := o.GetAnnotations()
	keys, _ := json.Marshal(map[string][]string{"labels": slices.Sorted(maps.Keys(o.GetLabels())), "annotations": slices.Sorted(maps.Keys(annotations))})
	annotations[keysAnnotation] = string(keys)
	whole, err := json.Marshal(o)
	if err != nil {
		panic(err) // API types can be written
	}
	sum := sha256.Sum256(whole)
	annotations[digestAnnotation] = hex.EncodeToString(sum[:8])
	return o
}

// isGenerated reports whether an object is as it was wanted: the same digest says that
// we wrote it so, and what a person would notice is still there.
func isGenerated(current object, want generated) bool {
	if ownerOf(current) != want.gateway || current.GetAnnotations()[digestAnnotation] != want.digest {
		return false
	}
	return holds(current.GetLabels(), want.object.GetLabels()) && holds(current.GetAnnotations(), want.object.GetAnnotations()) &&
		samePorts(current, want.object)
}

// holds reports whether all of want is in have.
func holds(have, want map[string]string) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

func samePorts(current, want object) bool {
	switch want := want.(type) {
	case *corev1.Service:
		return servicePorts(current.(*corev1.Service)) == servicePorts(want)
	case *discoveryv1.EndpointSlice:
		return !endpointSliceDiffers(current.(*discoveryv1.EndpointSlice), want)
	}
	return true
}

// servicePorts are the fields that we set, and that Kubernetes does not fill in.
func servicePorts(s *corev1.Service) string {
	ports := make([]corev1.ServicePort, 0, len(s.Spec.Ports))
	for _, p := range s.Spec.Ports {
		ports = append(ports, corev1.ServicePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port})
	}
	text, _ := json.Marshal(ports)
	return string(text)
}

// merged returns current with all that is wanted. Labels and annotations of others
// stay, and so does what Kubernetes filled in.
func merged(current, want object) object {
	o := current.DeepCopyObject().(object)
	var ours struct{ Labels, Annotations []string }
	_ = json.Unmarshal([]byte(current.GetAnnotations()[keysAnnotation]), &ours) // one that is broken names none
	o.SetLabels(replaced(o.GetLabels(), ours.Labels, want.GetLabels()))
	o.SetAnnotations(replaced(o.GetAnnotations(), ours.Annotations, want.GetAnnotations()))
	switch o := o.(type) {
	case *corev1.Service:
		o.Spec.Ports = want.(*corev1.Service).Spec.Ports
	case *discoveryv1.EndpointSlice:
		o.Endpoints, o.Ports = want.(*discoveryv1.EndpointSlice).Endpoints, want.(*discoveryv1.EndpointSlice).Ports
	}
	return o
}

// replaced returns have without the old keys, and with all of want.
func replaced(have map[string]string, old []string, want map[string]string) map[string]string {
	all := make(map[string]string, len(have)+len(want))
	maps.Copy(all, have)
	for _, key := range old {
		delete(all, key)
	}
	maps.Copy(all, want)
	return all
}

// ownerOf returns the UID of the Gateway that an object is generated for, or "".
func ownerOf(o metav1.Object) types.UID {
	_, generated := o.GetAnnotations()[digestAnnotation]
	if owner := metav1.GetControllerOf(o); generated && owner != nil && owner.Kind == "Gateway" {
		return owner.UID
	}
	return ""
}

func kindOf(o object) string {
	if _, ok := o.(*corev1.Service); ok {
		return "Service"
	}
	return "EndpointSlice"
}

// objectClient reads and writes objects of one kind in one namespace.
type objectClient struct {
	get    func(ctx context.Context, name string) (object, error)
	create func(ctx context.Context, o object) error
	update func(ctx context.Context, o object) error
	remove func(ctx context.Context, name string, o metav1.DeleteOptions) error
}

// typedObjects is the part of a typed client that an objectClient needs.
type typedObjects[T object] interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (T, error)
	Create(ctx context.Context, t T, o metav1.CreateOptions) (T, error)
	Update(ctx context.Context, t T, o metav1.UpdateOptions) (T, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
}

func (c clients) objects(key objectKey) objectClient {
	if key.kind == "Service" {
		return newObjectClient(c.kubernetes.CoreV1().Services(key.Namespace))
	}
	return newObjectClient(c.kubernetes.DiscoveryV1().EndpointSlices(key.Namespace))
}

func newObjectClient[T object](c typedObjects[T]) objectClient {
	return objectClient{
		get: func(ctx context.Context, name string) (object, error) { return c.Get(ctx, name, metav1.GetOptions{}) },
		create: func(ctx context.Context, o object) error {
			_, err := c.Create(ctx, o.(T), metav1.CreateOptions{FieldManager: fieldManager})
			return err
		},
		update: func(ctx context.Context, o object) error {
			_, err := c.Update(ctx, o.(T), metav1.UpdateOptions{FieldManager: fieldManager})
			return err
		},
		remove: c.Delete,
	}
}
