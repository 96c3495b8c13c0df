package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	programs "github.com/lintel-dev/lintel/conformance/process"
)

// TestRecordsOnCluster goes the whole way: hundreds of HTTPRoutes are created, changed and
// deleted with a real client, and Cloudflare's records follow: half of them went
// while nobody looked, and their records go only when a person lets them.
func TestRecordsOnCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server")
	}
	c := newCluster(t)
	cf := cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}})
	c.createPermissions("../../deploy/rbac.yaml")
	ctx, create := t.Context(), metav1.CreateOptions{}
	_, err := c.core.CoreV1().Secrets("lintel").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "cloudflare"}, StringData: map[string]string{"token": cloudflare.Token},
	}, create)
	c.must(err)
	ports, err := programs.FreePorts(ctx, 1)
	c.must(err)
	class := &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "lintel"}}
	class.Spec.ControllerName = "lintel.dev/gateway-controller"
	_, err = c.gateway.GatewayV1().GatewayClasses().Create(ctx, class, create)
	c.must(err)
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	g.Spec.GatewayClassName = "lintel"
	g.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: gatewayv1.PortNumber(ports[0]), Protocol: gatewayv1.HTTPProtocolType}}
	_, err = c.gateway.GatewayV1().Gateways("default").Create(ctx, g, create)
	c.must(err)
	args := []string{
		"--kubeconfig=" + c.kubeconfig(), "--lease-namespace=lintel", "--admin-address=", "--gateway-services=off",
		"--dns-provider=cloudflare", "--dns-credential=secret:cloudflare/token", "--publish-address=192.0.2.7",
	}
	_, stop := testRun{io.Discard, cf.HTTPClient()}.start(t, args...)

	const routes = 500
	name := func(i int) string { return fmt.Sprintf("r%03d", i) }
	api := c.gateway.GatewayV1().HTTPRoutes("default")
	awaitRecords := func(what string, want int, fits func(cloudflare.Record) bool) {
		t.Helper()
		c.await(what, func(context.Context) string {
			n, all := 0, 0
			for _, r := range cf.Records("example.test") {
				if r.Type == "A" {
					all++
					if fits(r) {
						n++
					}
				}
			}
			if n != want {
				return fmt.Sprintf("%d of %d records, want %d", n, all, want)
			}
			return ""
		})
		t.Logf("%s: %v", what, cf.Calls())
		cf.ResetCalls()
	}
	for i := range routes {
		r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: name(i)}}
		r.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "web"}}
		r.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(name(i) + ".example.test")}
		_, err := api.Create(ctx, r, create)
		c.must(err)
	}
	every := func(cloudflare.Record) bool { return true }
	awaitRecords("500 created", routes, every)

	for i := range 50 {
		r, err := api.Get(ctx, name(i), metav1.GetOptions{})
		c.must(err)
		r.Annotations = map[string]string{"external-dns.kubernetes.io/target": "192.0.2.8"}
		_, err = api.Update(ctx, r, metav1.UpdateOptions{})
		c.must(err)
	}
	awaitRecords("50 changed", 50, func(r cloudflare.Record) bool { return r.Content == "192.0.2.8" })

	plan := func() (string, error) {
		reader := newSettingsReader()
		c.must(reader.Flags().Parse(args))
		settings, err := reader.Read(nil)
		c.must(err)
		var out strings.Builder
		err = dnsPlan(ctx, &settings, dnsPlanOptions{Out: &out, Log: slog.New(slog.DiscardHandler), Client: cf.HTTPClient()})
		return out.String(), err
	}
	if text, err := plan(); err != nil {
		t.Errorf("lintel dns plan: %v\n%s", err, text)
	}

	stop()
	for i := routes - 250; i < routes; i++ {
		c.must(api.Delete(ctx, name(i), metav1.DeleteOptions{}))
	}
	text, err := plan()
	code := regexp.MustCompile("deletions wait to be released as ([0-9a-f]+)").FindStringSubmatch(text)
	if !errors.Is(err, errDiffers) || code == nil {
		t.Fatalf("lintel dns plan: %v\n%s", err, text)
	}
	cf.ResetCalls()
	testRun{io.Discard, cf.HTTPClient()}.start(t, append(args, "--dns-release="+code[1])...)
	awaitRecords("250 deleted", routes-250, every)
	if n := len(cf.Records("example.test")); n != 2*(routes-250) {
		t.Errorf("%d records, want %d with their marks", n, routes-250)
	}
}
