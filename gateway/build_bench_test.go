package gateway

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// benchSnapshot has n HTTPRoutes, each with a hostname and a Service of its own.
func benchSnapshot(n int) *Snapshot {
	s := newWorld(1).snapshot()
	s.Observed.Sockets = map[string]string{":80": ""}
	for i := range n {
		name := fmt.Sprintf("app-%d", i)
		s.Services = append(s.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		})
		s.HTTPRoutes = append(s.HTTPRoutes, benchRoute(name, 1))
	}
	return s
}

func benchRoute(name string, generation int64) *gatewayv1.HTTPRoute {
	port := gatewayv1.PortNumber(80)
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Generation: generation}}
	r.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "web"}}
	r.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(name + ".example.com")}
	ref := gatewayv1.HTTPBackendRef{}
	ref.Name, ref.Port = gatewayv1.ObjectName(name), &port
	r.Spec.Rules = []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{ref}}}
	return r
}

// BenchmarkBuildOneChanged is the budget of a busy cluster: of 5,000 routes one
// changed since the last Build (at most 30 ms of CPU).
func BenchmarkBuildOneChanged(b *testing.B) {
	s := benchSnapshot(5000)
	var memo Memo
	Build(s, &memo)
	b.ReportAllocs()
	generation := int64(1)
	start := processorTime(b)
	for b.Loop() {
		generation++
		s.HTTPRoutes[2500] = benchRoute("app-2500", generation)
		Build(s, &memo)
	}
	b.ReportMetric(float64((processorTime(b)-start).Milliseconds())/float64(b.N), "cpu-ms/op")
}

// processorTime is what the process has used of all cores, the garbage collector's
// part included.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkBuildCold is the first Build after a start, with 5,000 routes.
func BenchmarkBuildCold(b *testing.B) {
	s := benchSnapshot(5000)
	b.ReportAllocs()
	for b.Loop() {
		Build(s, &Memo{})
	}
}
