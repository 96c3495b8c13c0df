package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
)

// gatewayGroups matches the API groups whose CRDs are installed: that of the Gateway API, and
// the one of its experimental kinds.
const gatewayGroups = "gateway.networking.*"

// CRDs returns the Gateway API's CRDs of the experimental channel, in the version
// that Lintel is built with: those whose plural names ("httproutes") are given, or
// all of them.
func CRDs(ctx context.Context, plurals ...string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	module, err := binary.ModuleDir(ctx, "sigs.k8s.io/gateway-api")
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(module, "config", "crd", "experimental", gatewayGroups+"_*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("list CRDs: %w", err)
	}
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read CRD: %w", err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(content, crd); err != nil {
			return nil, fmt.Errorf("parse CRD %s: %w", filepath.Base(file), err)
		}
		if crd.Kind == "CustomResourceDefinition" && (len(plurals) == 0 || slices.Contains(plurals, crd.Spec.Names.Plural)) {
			crds = append(crds, crd)
		}
	}
	if len(crds) < max(1, len(plurals)) {
		return nil, fmt.Errorf("find CRDs: only %d of %s in %s", len(crds), strings.Join(plurals, ", "), module)
	}
	return crds, nil
}

// InstallCRDs installs what CRDs returns, and waits until it is served. What is
// installed already stays as it is.
func (c *ControlPlane) InstallCRDs(ctx context.Context, plurals ...string) error {
	crds, err := CRDs(ctx, plurals...)
	if err != nil {
		return err
	}
	return c.install(ctx, crds)
}

// InstallCRDFiles installs the CRDs of files, each of which holds one, and waits until they
// are served.
func (c *ControlPlane) InstallCRDFiles(ctx context.Context, paths ...string) error {
	crds := make([]*apiextensionsv1.CustomResourceDefinition, len(paths))
	for i, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read CRD: %w", err)
		}
		crds[i] = &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(content, crds[i]); err != nil {
			return fmt.Errorf("parse CRD %s: %w", filepath.Base(path), err)
		}
	}
	return c.install(ctx, crds)
}

func (c *ControlPlane) install(ctx context.Context, crds []*apiextensionsv1.CustomResourceDefinition) error {
	client, err := apiextensions.NewForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	api := client.ApiextensionsV1().CustomResourceDefinitions()
	for _, crd := range crds {
		if _, err := api.Create(ctx, crd, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create CRD: %w", err)
		}
	}
	for _, crd := range crds {
		if err := c.Poll(ctx, "wait for CRD "+crd.Name, func() error { return served(ctx, client, crd) }); err != nil {
			return err
		}
	}
	return nil
}

// served returns nil when every version of a CRD answers in discovery.
func served(ctx context.Context, client *apiextensions.Clientset, crd *apiextensionsv1.CustomResourceDefinition) error {
	for _, v := range crd.Spec.Versions {
		if !v.Served {
			continue
		}
		path := "/apis/" + crd.Spec.Group + "/" + v.Name + "/" + crd.Spec.Names.Plural
		if err := client.Discovery().RESTClient().Get().AbsPath(path).Param("limit", "1").Do(ctx).Error(); err != nil {
			return err
		}
	}
	return nil
}
