package kube

import (
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// groupClient is the client of an API group for which nobody has generated one.
type groupClient struct {
	rest.Interface
	parameters runtime.ParameterCodec
}

// apiGroup is a group in one of its versions, and what makes its types known.
type apiGroup struct {
	version     schema.GroupVersion
	addToScheme func(*runtime.Scheme) error
}

func newGroupClient(config *rest.Config, http *http.Client, group apiGroup) (groupClient, error) {
	scheme := runtime.NewScheme()
	if err := group.addToScheme(scheme); err != nil {
		return groupClient{}, fmt.Errorf("make client of %s: %w", group.version, err)
	}
	c := rest.CopyConfig(config)
	c.GroupVersion, c.APIPath = &group.version, "/apis"
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientForConfigAndClient(c, http)
	if err != nil {
		return groupClient{}, fmt.Errorf("make client of %s: %w", group.version, err)
	}
	return groupClient{client, runtime.NewParameterCodec(scheme)}, nil
}
