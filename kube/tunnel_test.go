package kube

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

// TestTunnelsOnceTheirCRDIsThere: the kind is taken up when its CRD is installed, and status is
// written, and taken away when nothing of ours names the Tunnel any more.
func TestTunnelsOnceTheirCRDIsThere(t *testing.T) {
	f := newFixture(t)
	s, _ := f.runStore(StoreOptions{Namespaces: []string{f.namespace}})
	f.wait(s)
	if err := f.plane.InstallCRDFiles(t.Context(), "../deploy/chart/files/tunnels.lintel.dev.yaml"); err != nil {
		t.Fatal(err)
	}
	api := f.clients.tunnels(f.namespace)
	object := &v1alpha1.Tunnel{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.KindTunnel},
		ObjectMeta: metav1.ObjectMeta{Name: "home"},
		Spec:       v1alpha1.TunnelSpec{Credentials: v1alpha1.TunnelCredentials{Token: &v1alpha1.SecretKey{Name: "home"}}},
	}
	created := must(api.Create(t.Context(), object, metav1.CreateOptions{}))(f)
	if created.Spec.Credentials.Token.Key != "token" || created.Spec.Protocol != v1alpha1.TunnelHTTP2 || created.Spec.LocalSockets != v1alpha1.LocalSocketsOpen {
		t.Errorf("defaults: %+v", created.Spec)
	}
	f.waitUntil(s, "the Tunnel", func(s *gateway.Snapshot) bool {
		return len(s.Tunnels) == 1 && s.Tunnels[0].Spec.Credentials.Token.Key == "token"
	})

	w := f.writer(s)
	want := &gateway.Status{Object: gateway.ObjectRef{Kind: v1alpha1.KindTunnel, Namespace: f.namespace, Name: "home"}, UID: created.UID, Generation: 1, Tunnel: &v1alpha1.TunnelStatus{
		ID: "5f2c", Hostname: "5f2c.cfargotunnel.com", Connected: new(int32(1)), LastError: "one is lost",
		Connections: []v1alpha1.TunnelConnection{{Index: 2, Location: "fra08", Edge: "198.41.192.7:7844", Protocol: v1alpha1.TunnelHTTP2}},
		Conditions:  []metav1.Condition{{Type: "Connected", Status: "True", Reason: "Connected", Message: "connections: 1", ObservedGeneration: 1}},
	}}
	f.write(w, want)
	current := func() *v1alpha1.Tunnel { return must(api.Get(t.Context(), "home", metav1.GetOptions{}))(f) }
	f.eventually("the status", func() bool {
		is := current().Status
		return is.ID == "5f2c" && *is.Connected == 1 && is.LastError == "one is lost" && len(is.Connections) == 1 && is.Connections[0].Location == "fra08" && apimeta.IsStatusConditionTrue(is.Conditions, "Connected")
	})
	f.write(w)
	f.eventually("no status", func() bool {
		is := current().Status
		return is.ID == "" && is.Connected == nil && is.LastError == "" && len(is.Connections) == 0 && len(is.Conditions) == 0
	})
}

// TestSecretsAreFollowedByName: Secrets of any type are in Snapshots while they are named, and
// it is known which were looked for.
func TestSecretsAreFollowedByName(t *testing.T) {
	f := newFixture(t)
	s, _ := f.runStore(StoreOptions{})
	f.wait(s)
	name := types.NamespacedName{Namespace: f.namespace, Name: "token"}
	value := func(s *gateway.Snapshot) string {
		for _, secret := range s.Secrets {
			if secret.Name == name.Name && secret.Namespace == name.Namespace {
				return string(secret.Data["token"])
			}
		}
		return ""
	}
	if s.Snapshot().SecretsRead[name] {
		t.Error("it was read before anybody asked")
	}
	s.FollowSecrets([]types.NamespacedName{name})
	f.waitUntil(s, "that there is none", func(s *gateway.Snapshot) bool { return s.SecretsRead[name] && value(s) == "" })
	secrets := f.clients.kubernetes.CoreV1().Secrets(f.namespace)
	secret := must(secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name.Name}, Data: map[string][]byte{"token": []byte("a")}}, metav1.CreateOptions{}))(f)
	f.waitUntil(s, "the token", func(s *gateway.Snapshot) bool { return value(s) == "a" })
	secret.Data["token"] = []byte("b")
	must(secrets.Update(t.Context(), secret, metav1.UpdateOptions{}))(f)
	f.waitUntil(s, "the next token", func(s *gateway.Snapshot) bool { return value(s) == "b" })
	if err := secrets.Delete(t.Context(), name.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.waitUntil(s, "no token", func(s *gateway.Snapshot) bool { return s.SecretsRead[name] && value(s) == "" })
	s.FollowSecrets(nil)
	f.eventually("nobody looks", func() bool { return !s.Snapshot().SecretsRead[name] })
}
