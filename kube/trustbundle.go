package kube

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	betaclient "k8s.io/client-go/kubernetes/typed/certificates/v1beta1"
)

// betaTrustBundles reads ClusterTrustBundles from an API server that has them in
// version v1beta1 alone, as those of version v1.
type betaTrustBundles struct {
	api betaclient.ClusterTrustBundleInterface
}

// List lists them.
func (b betaTrustBundles) List(ctx context.Context, o metav1.ListOptions) (*certificatesv1.ClusterTrustBundleList, error) {
	list, err := b.api.List(ctx, o)
	if err != nil {
		return nil, err
	}
	bundles := &certificatesv1.ClusterTrustBundleList{ListMeta: list.ListMeta}
	for i := range list.Items {
		bundles.Items = append(bundles.Items, *trustBundleOfBeta(&list.Items[i]))
	}
	return bundles, nil
}

// Watch watches them.
func (b betaTrustBundles) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	w, err := b.api.Watch(ctx, o)
	if err != nil {
		return nil, err
	}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		if bundle, ok := e.Object.(*certificatesv1beta1.ClusterTrustBundle); ok {
			e.Object = trustBundleOfBeta(bundle)
		}
		return e, true
	}), nil
}

func trustBundleOfBeta(b *certificatesv1beta1.ClusterTrustBundle) *certificatesv1.ClusterTrustBundle {
	return &certificatesv1.ClusterTrustBundle{
		ObjectMeta: b.ObjectMeta,
		Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: b.Spec.SignerName, TrustBundle: b.Spec.TrustBundle},
	}
}
