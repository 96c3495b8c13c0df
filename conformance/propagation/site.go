package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned/typed/apis/v1"
)

const (
	// name is that of the namespace, the Gateway and the Service.
	name = "propagation"
	// hostHeader is the field in which the backend repeats what was asked for.
	hostHeader = "Requested-Host"
	// settleTimeout bounds each wait for the API server or the Gateway.
	settleTimeout = 2 * time.Minute
)

// site is the namespace with a Gateway and a backend, which this process is.
type site struct {
	options *options
	kube    kubernetes.Interface
	gateway gatewayclient.GatewayV1Interface
	address string // of the Gateway, with its port
	backend *http.Server
	client  *http.Client
}

// newSite makes the objects and waits until the Gateway is programmed.
func newSite(ctx context.Context, config *rest.Config, o *options) (*site, error) {
	s := &site{options: o, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: 5 * time.Second}}
	var err error
	if s.kube, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	if s.gateway, err = gatewayclient.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("make Gateway API client: %w", err)
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

func (s *site) prepare(ctx context.Context) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := s.kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create namespace: %w", err)
	}
	port, err := s.serve(ctx)
	if err != nil {
		return err
	}
	if err := s.createService(ctx, port); err != nil {
		return err
	}
	gateway := &gatewayv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: gatewayv1.GatewaySpec{
			GatewayClassName: gatewayv1.ObjectName(s.options.class),
			Listeners:        []gatewayv1.Listener{{Name: "http", Port: gatewayv1.PortNumber(s.options.port), Protocol: gatewayv1.HTTPProtocolType}},
		},
	}
	if _, err := s.gateway.Gateways(name).Create(ctx, gateway, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create Gateway: %w", err)
	}
	return s.awaitGateway(ctx)
}

// serve answers every request with the host that it asked for.
func (s *site) serve(ctx context.Context) (port int32, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(s.options.backend, "0"))
	if err != nil {
		return 0, fmt.Errorf("listen for the backend: %w", err)
	}
	s.backend = &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(hostHeader, r.Host)
		}),
	}
	go func() { _ = s.backend.Serve(listener) }() // until remove
	return int32(netip.MustParseAddrPort(listener.Addr().String()).Port()), nil
}

func (s *site) createService(ctx context.Context, port int32) error {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if _, err := s.kube.CoreV1().Services(name).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create Service: %w", err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{s.options.backend}}},
		Ports:       []discoveryv1.EndpointPort{{Port: &port}},
	}
	if _, err := s.kube.DiscoveryV1().EndpointSlices(name).Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create EndpointSlice: %w", err)
	}
	return nil
}

// awaitGateway waits until the Gateway is programmed, and keeps its address.
func (s *site) awaitGateway(ctx context.Context) error {
	const interval = 100 * time.Millisecond
	err := wait.PollUntilContextTimeout(ctx, interval, settleTimeout, true, func(ctx context.Context) (bool, error) {
		g, err := s.gateway.Gateways(name).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if len(g.Status.Addresses) == 0 || !meta.IsStatusConditionTrue(g.Status.Conditions, string(gatewayv1.GatewayConditionProgrammed)) {
			return false, nil
		}
		s.address = net.JoinHostPort(g.Status.Addresses[0].Value, fmt.Sprint(s.options.port))
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the Gateway to be programmed: %w", err)
	}
	return nil
}

// createRoute makes an HTTPRoute for one host.
func (s *site) createRoute(ctx context.Context, route, host string) error {
	port := gatewayv1.PortNumber(80)
	object := &gatewayv1.HTTPRoute{
		ObjectMeta: metav1.ObjectMeta{Name: route},
		Spec: gatewayv1.HTTPRouteSpec{
			CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Name: name}}},
			Hostnames:       []gatewayv1.Hostname{gatewayv1.Hostname(host)},
			Rules: []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{
				BackendRef: gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{Name: name, Port: &port}},
			}}}},
		},
	}
	if _, err := s.gateway.HTTPRoutes(name).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create HTTPRoute: %w", err)
	}
	return nil
}

// remove ends the backend and deletes the namespace, and waits until it is gone.
func (s *site) remove() error {
	if s.backend != nil {
		_ = s.backend.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	namespaces := s.kube.CoreV1().Namespaces()
	if err := namespaces.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete namespace: %w", err)
	}
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := namespaces.Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}
