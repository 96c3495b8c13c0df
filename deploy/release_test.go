package deploy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/lintel-dev/lintel/conformance/cluster/controlplane"
	"github.com/lintel-dev/lintel/deploy/helm"
)

// TestRelease installs the chart in each way on a real API server, upgrades it, and
// uninstalls it: what was there before is there after, and nothing else.
func TestRelease(t *testing.T) {
	h := newHelm(t)
	r := release{T: t, helm: h, plane: controlplane.ForTest(t)}
	r.core = kubernetes.NewForConfigOrDie(r.plane.Config)
	_, err := r.core.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "lintel"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const crd = "apiextensions.k8s.io/customresourcedefinitions /tunnels.lintel.dev"
	before := r.objects()
	for _, values := range []string{
		"exposure=HostPort",
		"exposure=HostNetwork,settings.addressPools={192.0.2.0/28}",
		"exposure=LoadBalancer,kind=Deployment,ingressClass.default=true",
	} {
		r.run("install", "lintel", "chart", "--set", values)
		r.elect("lintel-x7k2p_1")
		// A number beyond a million, which Helm would write with an exponent.
		r.run("upgrade", "lintel", "chart", "--reset-then-reuse-values", "--set", "settings.logLevel=debug,settings.maxBodyBytes=5000000")
		r.checkSettings("logLevel: \"debug\"\nmaxBodyBytes: 5000000\n")
		r.checkLeader("lintel-x7k2p_1")
		r.run("uninstall", "lintel")
		if !slices.Contains(r.objects(), crd) {
			t.Errorf("%s: the CRD is gone, and with it what people have written", values)
		}
		if after := slices.DeleteFunc(r.objects(), func(o string) bool { return strings.HasSuffix(o, ".lintel.dev") }); !slices.Equal(before, after) {
			t.Errorf("%s: objects before:\n%s\nand after:\n%s", values, strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	}
}

// release is Lintel's in the namespace lintel.
type release struct {
	*testing.T
	helm  *helm.Helm
	plane *controlplane.ControlPlane
	core  kubernetes.Interface
}

func (r *release) run(args ...string) {
	r.Helper()
	if _, err := r.helm.Run(r.Context(), append(args, "--kubeconfig", r.plane.Kubeconfig, "--namespace", "lintel")...); err != nil {
		r.Fatal(err)
	}
}

// elect writes the Lease as a replica does.
func (r *release) elect(holder string) {
	r.Helper()
	leases := r.core.CoordinationV1().Leases("lintel")
	lease, err := leases.Get(r.Context(), "lintel", metav1.GetOptions{})
	if err != nil {
		r.Fatal(err)
	}
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &holder}
	if _, err := leases.Update(r.Context(), lease, metav1.UpdateOptions{}); err != nil {
		r.Fatal(err)
	}
}

func (r *release) checkLeader(want string) {
	r.Helper()
	lease, err := r.core.CoordinationV1().Leases("lintel").Get(r.Context(), "lintel", metav1.GetOptions{})
	if err != nil {
		r.Fatal(err)
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != want {
		r.Errorf("an upgrade took the Lease from its holder: %+v", lease.Spec)
	}
}

func (r *release) checkSettings(want string) {
	r.Helper()
	settings, err := r.core.CoreV1().ConfigMaps("lintel").Get(r.Context(), "lintel", metav1.GetOptions{})
	if err != nil {
		r.Fatal(err)
	}
	if got := settings.Data["lintel.yaml"]; !strings.HasSuffix(got, want) {
		r.Errorf("settings are\n%swant at their end\n%s", got, want)
	}
}

// objects are the names of all that the API server holds, but for what it makes and
// renews by itself.
func (r *release) objects() []string {
	r.Helper()
	kinds, err := r.core.Discovery().ServerPreferredResources()
	if err != nil {
		r.Fatal(err)
	}
	client := metadata.NewForConfigOrDie(r.plane.Config)
	var names []string
	for _, group := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}, kinds) {
		version, err := schema.ParseGroupVersion(group.GroupVersion)
		if err != nil {
			r.Fatal(err)
		}
		for _, kind := range group.APIResources {
			list, err := client.Resource(version.WithResource(kind.Name)).List(r.Context(), metav1.ListOptions{})
			if err != nil {
				r.Fatal(err)
			}
			for _, o := range list.Items {
				if o.Namespace != metav1.NamespaceSystem && kind.Name != "events" {
					names = append(names, fmt.Sprintf("%s/%s %s/%s", version.Group, kind.Name, o.Namespace, o.Name))
				}
			}
		}
	}
	slices.Sort(names)
	return names
}
