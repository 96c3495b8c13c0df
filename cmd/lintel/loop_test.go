package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/conformance/instance"
	"github.com/lintel-dev/lintel/gateway"
)

// objects is a source whose Gateway a test changes.
type objects struct {
	changed chan struct{}

	mu      sync.Mutex
	gateway *gatewayv1.Gateway
}

func (o *objects) Wait(ctx context.Context) (gateway.Change, error) {
	select {
	case <-o.changed:
		return gateway.Change{Objects: true}, nil
	case <-ctx.Done():
		return gateway.Change{}, ctx.Err()
	}
}

func (o *objects) Snapshot() *gateway.Snapshot {
	o.mu.Lock()
	defer o.mu.Unlock()
	class := &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "lintel"}}
	class.Spec.ControllerName = "lintel.dev/gateway-controller"
	return &gateway.Snapshot{GatewayClasses: []*gatewayv1.GatewayClass{class}, Gateways: []*gatewayv1.Gateway{o.gateway}}
}

func (o *objects) EndpointSlices(types.NamespacedName) []*discoveryv1.EndpointSlice { return nil }

// listen makes the Gateway listen on a port, of one address or of all.
func (o *objects) listen(port int, addresses ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	g.Spec.GatewayClassName = "lintel"
	g.Spec.Listeners = []gatewayv1.Listener{{Name: "http", Port: gatewayv1.PortNumber(port), Protocol: gatewayv1.HTTPProtocolType}}
	for _, a := range addresses {
		g.Spec.Addresses = append(g.Spec.Addresses, gatewayv1.GatewaySpecAddress{Value: a})
	}
	o.gateway = g
	o.changed <- struct{}{}
}

// startLoop runs the loop with a real data plane, and returns the states of the
// Listener as they are written to status.
func startLoop(t *testing.T, o *objects) <-chan string {
	t.Helper()
	p := newProcess(settingsOf(t), slog.New(slog.NewTextHandler(t.Output(), nil)))
	states := make(chan string, 100)
	p.loop.source, p.loop.names = o, newNames(o)
	p.loop.writeStatus = func(statuses []*gateway.Status) {
		for _, s := range statuses {
			if s.Gateway != nil {
				c := s.Gateway.Listeners[0].Conditions
				states <- fmt.Sprintf("%s, %s", c[len(c)-1].Reason, c[len(c)-1].Message)
			}
		}
	}
	inBackground(t, p.run)
	return states
}

// await returns when the Listener is in the wanted state.
func await(t *testing.T, states <-chan string, want string) {
	t.Helper()
	last := "nothing was written"
	timeout := time.After(20 * time.Second)
	for {
		select {
		case last = <-states:
			if last == want {
				return
			}
		case <-timeout:
			t.Fatalf("the Listener is %q, not %q", last, want)
		}
	}
}

// A socket that opens only after the one before it was closed is Programmed in the
// end, though nothing in the objects changes any more.
func TestLoopMovesASocketToEveryAddress(t *testing.T) {
	_, port, _ := net.SplitHostPort(instance.FreeAddress(t))
	number, _ := strconv.Atoi(port)
	o := &objects{changed: make(chan struct{}, 1)}
	states := startLoop(t, o)
	o.listen(number, "127.0.0.1")
	await(t, states, "Programmed, serving on 127.0.0.1:"+port)
	o.listen(number)
	await(t, states, "Programmed, serving on :"+port)
	o.listen(number, "127.0.0.1")
	await(t, states, "Programmed, serving on 127.0.0.1:"+port)
}

// A port that another process holds is tried again until it is free.
func TestLoopTriesAPortAgain(t *testing.T) {
	other, err := net.Listen("tcp", instance.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	address := other.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	o := &objects{changed: make(chan struct{}, 1)}
	states := startLoop(t, o)
	o.listen(number, "127.0.0.1")
	await(t, states, "Invalid, open socket: listen tcp "+address+": bind: address already in use")
	other.Close()
	await(t, states, "Programmed, serving on "+address)
}

// lateChange is a source that has a change when the time to wait is over.
type lateChange struct{ objects }

func (*lateChange) Wait(ctx context.Context) (gateway.Change, error) {
	<-ctx.Done()
	time.Sleep(2 * retryInterval)
	return gateway.Change{Services: []types.NamespacedName{{Namespace: "default", Name: "app"}}}, nil
}

// A change that comes just when something else wakes the loop, and when it would try a socket again,
// is taken up too: nobody tells of it again.
func TestChangeThatComesLateIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan struct{}, 1)
		wake <- struct{}{}
		l := &loop{source: wakingSource{source: &lateChange{}, wake: wake}, unsettled: true}
		change, err := l.wait(t.Context())
		if err != nil || !change.Objects || len(change.Services) != 1 {
			t.Errorf("got %+v, %v", change, err)
		}
	})
}
