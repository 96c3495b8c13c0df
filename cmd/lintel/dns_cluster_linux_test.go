package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/conformance/cloudflare"
	"github.com/lintel-dev/lintel/conformance/knot"
	programs "github.com/lintel-dev/lintel/conformance/process"
)

// TestRecordsOnCluster goes the whole way: hundreds of HTTPRoutes are created, changed and
// deleted with a real client, and the records of two installations follow, at Cloudflare and
// at Knot DNS: dig sees it, and what they ask and write is counted. Half of the Routes go
// while nobody looks, and their records only when a person lets them.
func TestRecordsOnCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("needs an API server")
	}
	programs.Require(t, "dig")
	t.Parallel()
	w := newRecordsOnCluster(t)
	w.create(500)
	w.start()
	w.awaitRecords("500 created", 500, 0)
	w.mustCost(1, 5, 10) // a record and its mark each

	began := time.Now()
	w.change(50)
	w.awaitRecords("50 changed", 500, 50)
	rounds := 2 + int(time.Since(began)/(2*time.Second)) // while they came
	w.mustCost(rounds, rounds, rounds)
	for _, i := range w.installations {
		if text, err := w.plan(i); err != nil {
			t.Errorf("%s: lintel dns plan: %v\n%s", i.name, err, text)
		}
	}

	w.stop()
	w.delete(250)
	for _, i := range w.installations {
		text, err := w.plan(i)
		code := regexp.MustCompile("deletions wait to be released as ([0-9a-f]+)").FindStringSubmatch(text)
		if !errors.Is(err, errDiffers) || code == nil {
			t.Fatalf("%s: lintel dns plan: %v\n%s", i.name, err, text)
		}
		i.args = append(i.args, "--dns-release="+code[1], "--dns-interval=1s")
	}
	began = time.Now()
	w.count()
	w.start()
	w.awaitRecords("250 deleted", 250, 50)
	rounds = 2 + int(time.Since(began)/time.Second)
	w.mustCost(rounds, 3, 3)
	for _, i := range w.installations {
		here, gone := w.ask(t.Context(), i.responder, routeName(0)+".example.test."), w.ask(t.Context(), i.responder, routeName(499)+".example.test.")
		if here != "192.168.1.2" || gone != "" {
			t.Errorf("%s: on the local network a Route is at %q, and one that is gone at %q", i.name, here, gone)
		}
	}

	began = time.Now()
	w.count()
	w.await("intervals pass", func(context.Context) string {
		if cf, kn := w.costs(); cf.reads < 2 || kn.reads < 2 {
			return fmt.Sprint(cf, kn)
		}
		return ""
	})
	w.mustCost(1+int(time.Since(began)/time.Second), 0, 0)
}

// recordsOnCluster are an API server, two providers, and an installation of Lintel for each.
type recordsOnCluster struct {
	*cluster
	cloudflare    *cloudflare.Server
	knot          *knot.Server
	before        knot.Work
	installations []*installation
}

// installation is a Lintel with GatewayClasses of its own.
type installation struct {
	name      string
	args      []string
	client    *http.Client
	responder string // address
	stop      func()
}

// cost is what a provider was asked.
type cost struct{ reads, writes int }

func newRecordsOnCluster(t *testing.T) *recordsOnCluster {
	w := &recordsOnCluster{
		cloudflare: cloudflare.ForTest(t, cloudflare.Options{Zones: []string{"example.test"}}),
		knot:       knot.ForTest(t, knot.Options{Zones: []string{"example.test"}}),
		cluster:    newCluster(t),
	}
	w.createPermissions("../../deploy/rbac.yaml")
	ctx, create := t.Context(), metav1.CreateOptions{}
	_, err := w.core.CoreV1().Secrets("lintel").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "dns"}, StringData: map[string]string{"token": cloudflare.Token, "key": w.knot.Key.Secret},
	}, create)
	w.must(err)
	w.install("cloudflare", w.cloudflare.HTTPClient(), "--dns-credential=secret:dns/token")
	w.install("rfc2136", nil, "--dns-credential=secret:dns/key", "--dns-server="+w.knot.Address, "--dns-zones=example.test", "--dns-key="+w.knot.Key.Name)
	return w
}

// install makes a GatewayClass and a Gateway, and the settings of a Lintel for them.
func (w *recordsOnCluster) install(provider string, client *http.Client, args ...string) {
	w.Helper()
	ctx, create := w.Context(), metav1.CreateOptions{}
	ports, err := programs.FreePorts(ctx, 2)
	w.must(err)
	responder := fmt.Sprintf("127.0.0.1:%d", ports[1])
	w.createClass(provider, "lintel.dev/"+provider)
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: provider}}
	g.Spec.GatewayClassName = gatewayv1.ObjectName(provider)
	g.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: gatewayv1.PortNumber(ports[0]), Protocol: gatewayv1.HTTPProtocolType}}
	_, err = w.gateway.GatewayV1().Gateways("default").Create(ctx, g, create)
	w.must(err)
	w.installations = append(w.installations, &installation{name: provider, client: client, responder: responder, args: append(args,
		"--kubeconfig="+w.kubeconfig(), "--lease-namespace=lintel", "--lease-name="+provider, "--controller-name=lintel.dev/"+provider,
		"--admin-address=", "--gateway-services=off", "--dns-provider="+provider, "--publish-address=192.0.2.7",
		"--dns-responder-address="+responder, "--dns-responder-answer=192.168.1.2",
	)})
}

func (w *recordsOnCluster) start() {
	for _, i := range w.installations {
		_, i.stop = testRun{log: io.Discard, dns: i.client}.start(w.T, i.args...)
	}
}

func (w *recordsOnCluster) stop() {
	for _, i := range w.installations {
		i.stop()
	}
}

func routeName(i int) string { return fmt.Sprintf("r%03d", i) }

// each calls what for many Routes, several at a time.
func (w *recordsOnCluster) each(from, to int, what func(i int) error) {
	w.Helper()
	var group errgroup.Group
	group.SetLimit(8)
	for i := from; i < to; i++ {
		group.Go(func() error { return what(i) })
	}
	w.must(group.Wait())
}

func (w *recordsOnCluster) create(n int) {
	w.Helper()
	w.each(0, n, func(i int) error {
		r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: routeName(i)}}
		for _, gateway := range w.installations {
			r.Spec.ParentRefs = append(r.Spec.ParentRefs, gatewayv1.ParentReference{Name: gatewayv1.ObjectName(gateway.name)})
		}
		r.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(routeName(i) + ".example.test")}
		_, err := w.gateway.GatewayV1().HTTPRoutes("default").Create(w.Context(), r, metav1.CreateOptions{})
		return err
	})
}

// change lets the first n Routes lead elsewhere.
func (w *recordsOnCluster) change(n int) {
	w.Helper()
	patch := []byte(`{"metadata":{"annotations":{"external-dns.kubernetes.io/target":"192.0.2.8"}}}`)
	w.each(0, n, func(i int) error {
		_, err := w.gateway.GatewayV1().HTTPRoutes("default").Patch(w.Context(), routeName(i), "application/merge-patch+json", patch, metav1.PatchOptions{})
		return err
	})
}

// delete deletes Routes from the n-th on.
func (w *recordsOnCluster) delete(n int) {
	w.Helper()
	w.each(n, 500, func(i int) error {
		return w.gateway.GatewayV1().HTTPRoutes("default").Delete(w.Context(), routeName(i), metav1.DeleteOptions{})
	})
}

// awaitRecords waits until there is what there should be, and lets dig tell: records for the
// first n of 500 Routes, of which the first few lead elsewhere.
func (w *recordsOnCluster) awaitRecords(what string, n, changed int) {
	w.Helper()
	began := time.Now()
	want := make(map[string]string)
	for i := range n {
		want[routeName(i)+".example.test."] = "192.0.2.7"
		if i < changed {
			want[routeName(i)+".example.test."] = "192.0.2.8"
		}
	}
	for _, server := range []string{w.cloudflare.DNS, w.knot.Address} {
		w.await(what, func(ctx context.Context) string {
			for _, i := range []int{0, 49, 249, 499} { // before dig is asked for all of them
				if name := routeName(i) + ".example.test."; w.ask(ctx, server, name) != want[name] {
					rest(ctx, 50*time.Millisecond) // there are others that need the processor
					return name
				}
			}
			difference := cmp.Diff(want, w.dig(ctx, server))
			if difference != "" {
				rest(ctx, 500*time.Millisecond)
			}
			return difference
		})
	}
	cf, kn := w.costs()
	w.Logf("%s after %v: Cloudflare %+v, Knot DNS %+v", what, time.Since(began).Round(time.Millisecond), cf, kn)
	if marked := len(w.cloudflare.Records("example.test")); marked != 2*n {
		w.Errorf("%s: Cloudflare has %d records, want %d with their marks", what, marked, n)
	}
	records, err := w.knot.Transfer("example.test")
	if err != nil || len(records) != 2+2*n { // beside the zone's own
		w.Errorf("%s: Knot DNS has %d records, want %d with their marks: %v", what, len(records), n, err)
	}
	w.before.Transfers++ // that was ours
}

// ask returns where a name is.
func (w *recordsOnCluster) ask(ctx context.Context, server, name string) string {
	client := dns.Client{}
	answer, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(name, dns.TypeA), server)
	if err != nil || len(answer.Answer) != 1 {
		return ""
	}
	return answer.Answer[0].(*dns.A).A.String()
}

// dig asks for all names by one dig.
func (w *recordsOnCluster) dig(ctx context.Context, server string) map[string]string {
	host, port, err := net.SplitHostPort(server)
	w.must(err)
	var questions strings.Builder
	for i := range 500 {
		fmt.Fprintf(&questions, "%s.example.test A\n", routeName(i))
	}
	path := filepath.Join(w.TempDir(), "questions")
	w.must(os.WriteFile(path, []byte(questions.String()), 0o600))
	out, err := exec.CommandContext(ctx, "dig", "@"+host, "-p", port, "+noall", "+answer", "-f", path).Output() //nolint:gosec // Of this test.
	w.must(err)
	answers := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) == 5 && fields[3] == "A" {
			answers[fields[0]] += fields[4]
		}
	}
	return answers
}

// count begins to count anew.
func (w *recordsOnCluster) count() {
	w.Helper()
	w.cloudflare.ResetCalls()
	var err error
	w.before, err = w.knot.Work()
	w.must(err)
}

func (w *recordsOnCluster) costs() (cf, kn cost) {
	w.Helper()
	calls := w.cloudflare.Calls()
	work, err := w.knot.Work()
	w.must(err)
	work = work.Since(w.before)
	return cost{calls["GET /zones/{zone}/dns_records"], calls["POST /zones/{zone}/dns_records/batch"]}, cost{work.Transfers, work.Updates}
}

// mustCost bounds how often each zone was read, and written, since the counting began, which
// begins anew.
func (w *recordsOnCluster) mustCost(reads, batches, updates int) {
	w.Helper()
	cf, kn := w.costs()
	if cf.reads > reads || kn.reads > reads || cf.writes > batches || kn.writes > updates {
		w.Errorf("asked Cloudflare %+v and Knot DNS %+v; want %d reads, %d batches and %d updates at most", cf, kn, reads, batches, updates)
	}
	w.count()
}

// plan is what lintel dns plan prints.
func (w *recordsOnCluster) plan(i *installation) (string, error) {
	w.Helper()
	return recordsPlan(w.T, i.client, i.args...)
}
