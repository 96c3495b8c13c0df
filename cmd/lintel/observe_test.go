package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/conformance/instance"
	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/observe"
)

// observed is a Lintel that serves shop.example.com, and answers lintel observe.
type observed struct {
	*testing.T
	url, admin string
	stop       func()
}

func startObserved(t *testing.T, args ...string) *observed {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, "hello")
	}))
	t.Cleanup(backend.Close)
	_, port, _ := net.SplitHostPort(backend.Listener.Addr().String())
	listen := instance.FreeAddress(t)
	_, listenPort, _ := net.SplitHostPort(listen)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "all.yaml"), fmt.Appendf(nil, observedManifests, listenPort, port), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &observed{T: t, url: "http://" + listen, admin: instance.FreeAddress(t)}
	_, o.stop = testRun{log: t.Output()}.start(t, append(args, "--manifests="+folder, "--admin-address="+o.admin)...)
	untilNil(t, "lintel is ready", func() error {
		_, err := answerText(http.DefaultClient, "http://"+o.admin+"/readyz")
		return err
	})
	return o
}

const observedManifests = instance.Class + `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: front}
spec:
  gatewayClassName: lintel
  listeners: [{name: http, port: %s, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: default}
spec:
  parentRefs: [{name: web, namespace: front}]
  hostnames: [shop.example.com]
  rules: [{backendRefs: [{name: shop, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, namespace: default, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{port: %s}]
endpoints: [{addresses: [127.0.0.1], targetRef: {kind: Pod, name: shop-6d5f, namespace: default}}]
`

func (o *observed) get(path string) {
	o.Helper()
	request, _ := http.NewRequest(http.MethodGet, o.url+path, nil)
	request.Host = "shop.example.com"
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		o.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	response.Body.Close()
}

// observe runs the command to its end.
func (o *observed) observe(args ...string) (out, message string) {
	o.Helper()
	var stdout, stderr strings.Builder
	root := newRootCommand(new(job))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetArgs(append([]string{"observe", "--admin-address=" + o.admin}, args...))
	if err := root.ExecuteContext(o.Context()); err != nil {
		o.Fatal(err)
	}
	return stdout.String(), stderr.String()
}

// follow starts the command, and returns its lines and what waits for its end.
func (o *observed) follow(args ...string) (lines *bufio.Scanner, end func() (message string)) {
	o.Helper()
	reader, writer := io.Pipe()
	var stderr strings.Builder
	root := newRootCommand(new(job))
	root.SetOut(writer)
	root.SetErr(&stderr)
	root.SetArgs(append([]string{"observe", "--admin-address=" + o.admin}, args...))
	done := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(o.Context())
		writer.Close()
		done <- err
	}()
	return bufio.NewScanner(reader), func() string {
		if err := <-done; err != nil {
			o.Error(err)
		}
		return stderr.String()
	}
}

// awaitRecords returns when that many are kept: one is written after its client has the answer.
func (o *observed) awaitRecords(count int) {
	o.Helper()
	until(o.T, fmt.Sprintf("%d records", count), func() string {
		out, _ := o.observe("--since=1m")
		if strings.Count(out, "\n") < count {
			return "there are\n" + out
		}
		return ""
	})
}

func TestObserveShowsThePast(t *testing.T) {
	o := startObserved(t)
	o.get("/one")
	o.get("/broken")
	o.get("/two")
	o.awaitRecords(3)
	out, _ := o.observe("--last=2", "-o=json", "--status=200")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var r observe.Record
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil || len(lines) != 2 {
		t.Fatalf("%v\n%s", err, out)
	}
	if r.Path != "/two" || r.Verdict != observe.VerdictForwarded || r.Destination.Pod != "shop-6d5f" || r.Destination.Service != "shop" ||
		r.Destination.Namespace != "default" || r.BytesOut != 5 || r.Source.Pod != "" {
		t.Errorf("got %s", lines[1])
	}
	for args, want := range map[string]int{
		"--since=1m": 3, "--since=0s": 0, "--since=1m --status=5xx": 1, "--last=9 --pod=shop-*": 3, "--last=9 --pod=other": 0,
		"--last=9 --namespace=default": 3, "--last=9 --host=shop.*.com": 3, "--last=9 --kind=l4": 0, "--last=1 --verdict=failed,forwarded": 1,
	} {
		out, _ := o.observe(strings.Fields(args)...)
		if got := strings.Count(out, "\n"); got != want {
			t.Errorf("%s shows %d, want %d:\n%s", args, got, want, out)
		}
	}
}

// A follower sees what comes, and the end of Lintel is an end like any other.
func TestObserveFollowsUntilLintelEnds(t *testing.T) {
	o := startObserved(t)
	o.get("/before")
	lines, end := o.follow("-f", "--last=1", "--host=shop.example.com")
	for _, path := range []string{"/before", "/one", "/two"} {
		if path != "/before" {
			o.get(path)
		}
		if !lines.Scan() || !strings.Contains(lines.Text(), "-> default/shop-6d5f:") ||
			!strings.Contains(lines.Text(), "FORWARDED  GET http://shop.example.com"+path+"  200  ") {
			t.Fatalf("%s: got %q, %v", path, lines.Text(), lines.Err())
		}
	}
	o.stop()
	if lines.Scan() {
		t.Errorf("after the end came %q", lines.Text())
	}
	if message := end(); !strings.Contains(message, "has ended") {
		t.Errorf("it said %q", message)
	}
}

func TestObserveWhereNoRecordsAreKept(t *testing.T) {
	o := startObserved(t, "--observe-records=0")
	o.get("/")
	root := newRootCommand(new(job))
	root.SetArgs([]string{"observe", "--admin-address=" + o.admin})
	if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "observe-records is 0") {
		t.Errorf("got %v", err)
	}
}

// What clients ask for is not everybody's to read.
func TestRecordsAreForThisMachineAlone(t *testing.T) {
	s := &recordStream{stream: observe.NewStream(1), names: newNames(emptySource{})}
	for from, want := range map[string]int{"192.0.2.1:1234": 403, "[2001:db8::1]:1234": 403, "127.0.0.1:1234": 200, "[::1]:1234": 200, "@": 200} {
		request := httptest.NewRequest(http.MethodGet, observePath, nil)
		request.RemoteAddr = from
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, request)
		if answer.Code != want {
			t.Errorf("%s: %d, want %d", from, answer.Code, want)
		}
	}
	answer := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodGet, observePath+"?hots=x", nil)
	request.RemoteAddr = "@"
	if s.ServeHTTP(answer, request); answer.Code != 400 || !strings.Contains(answer.Body.String(), "did you mean host?") {
		t.Errorf("got %d %s", answer.Code, answer.Body)
	}
}

// Whoever reads slowly gets some records, and the number of all others.
func TestSlowReadersAreToldWhatTheyLost(t *testing.T) {
	const requests = 30_000
	stream := observe.NewStream(64)
	server := httptest.NewServer(&recordStream{stream: stream, names: newNames(emptySource{})})
	t.Cleanup(server.Close)
	response, err := http.Get(server.URL + "?follow=true") // the head is read, and nothing else yet
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for range requests {
		stream.ObserveExchange(&observe.Exchange{Path: "/" + strings.Repeat("x", 900), Status: 200})
	}
	stream.ObserveExchange(&observe.Exchange{Path: "/last", Status: 200})
	seen, lost := 0, uint64(0)
	decoder := json.NewDecoder(response.Body)
	for last := false; !last; {
		var r observe.Record
		if err := decoder.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Kind == observe.KindLost {
			lost += r.Lost
			continue
		}
		seen++
		last = r.Path == "/last"
	}
	if seen+int(lost) != requests+1 || lost == 0 { //nolint:gosec // As many as were told.
		t.Errorf("%d seen and %d lost of %d", seen, lost, requests+1)
	}
	t.Logf("%d seen, %d lost", seen, lost)
}

// emptySource has no objects.
type emptySource struct{ source }

func (emptySource) Snapshot() *gateway.Snapshot { return &gateway.Snapshot{} }

func TestNamesOfAddresses(t *testing.T) {
	port := int32(8080)
	slice := func(pods map[string]string) []*discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Port: &port}}}
		for address, pod := range pods {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod}})
		}
		return []*discoveryv1.EndpointSlice{s}
	}
	service := func(name, address string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       corev1.ServiceSpec{ClusterIPs: []string{address}, Ports: []corev1.ServicePort{{Port: 80}}},
		}
	}
	endpoints := map[string][]*discoveryv1.EndpointSlice{
		"shop":  slice(map[string]string{"10.0.0.1": "shop-1", "192.0.2.1": "on-host"}),
		"proxy": slice(map[string]string{"10.0.0.2": "proxy-1"}),
		"again": slice(map[string]string{"10.0.0.2": "proxy-1", "127.0.0.1": "loop"}),
	}
	x := newNameIndex(&gateway.Snapshot{
		Services: []*corev1.Service{service("shop", "10.96.0.1"), service("proxy", "None"), service("again", "")},
		Nodes:    []*corev1.Node{{Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Address: "192.0.2.1"}, {Address: "node-1"}}}}},
	}, func(name types.NamespacedName) []*discoveryv1.EndpointSlice { return endpoints[name.Name] })
	for at, want := range map[string]string{
		"10.0.0.1:8080":   "default shop-1 shop",
		"10.0.0.1:41234":  "default shop-1 ", // where it connects from
		"10.0.0.2:8080":   "default proxy-1 again",
		"10.96.0.1:80":    "default  shop",
		"10.96.0.1:81":    "  ",
		"192.0.2.1:8080":  "default on-host shop",
		"192.0.2.1:41234": "  ", // anything on the node
		"127.0.0.1:8080":  "default loop again",
		"127.0.0.1:41234": "  ",
		"203.0.113.1:443": "  ",
	} {
		address := netip.MustParseAddrPort(at)
		r := observe.Record{Source: observe.Peer{Address: address.Addr(), Port: address.Port()}}
		x.complete(&r)
		if got := fmt.Sprint(r.Source.Namespace, " ", r.Source.Pod, " ", r.Source.Service); got != want {
			t.Errorf("%s is %q, want %q", at, got, want)
		}
	}
}
