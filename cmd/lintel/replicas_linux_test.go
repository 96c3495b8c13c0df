package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/lintel-dev/lintel/bpf/bpftest"
	"github.com/lintel-dev/lintel/bpf/hostports"
)

// TestReplicasOfANode replaces the Lintel of a node time and again, as rollouts do whose new
// Pod comes before the old one goes. No request to an address of a pool fails.
func TestReplicasOfANode(t *testing.T) {
	if testing.Short() || !inNamespace(t) {
		return
	}
	manifests, processors := writeGatewayOfPool(t), runtime.GOMAXPROCS(0)
	for _, way := range []string{hostPortsBind, hostPortsSkLookup} {
		t.Run(way, func(t *testing.T) {
			if way == hostPortsSkLookup {
				bpftest.Require(t, hostports.Probe())
				bpftest.NothingLeft(t, "lt_host_ports")
				bpftest.NothingLeft(t, "lt_sockets")
			}
			(&nodeOfReplicas{T: t, manifests: manifests, processors: processors, hostPorts: way}).replace()
		})
	}
}

// replace starts and stops replicas while requests are made.
func (n *nodeOfReplicas) replace() {
	t := n.T
	stop := n.start()
	untilNil(t, "the first answers", n.ask)
	asking, ended := context.WithCancel(t.Context())
	failures := make(chan error, 1)
	count := 0
	go func() {
		defer close(failures)
		for asking.Err() == nil {
			if err := n.ask(); err != nil {
				failures <- err
				return
			}
			count++
			rest(asking, time.Millisecond)
		}
	}()
	for range 4 {
		next := n.start()
		stop()
		stop = next
	}
	rest(asking, time.Second) // an address that nobody renews would be gone by then
	ended()
	if err := <-failures; err != nil {
		t.Errorf("after %d requests: %v", count, err)
	}
	t.Logf("%d requests", count)
	stop()
}

// nodeOfReplicas is where the replicas run.
type nodeOfReplicas struct {
	*testing.T
	manifests string
	hostPorts string
	replicas  int

	processors int // of the machine: each replica asks for more, as a process of its own does
}

// start starts a replica, and returns when it is ready.
func (n *nodeOfReplicas) start() (stop func()) {
	n.Helper()
	n.replicas++
	runtime.GOMAXPROCS(n.processors)
	path := filepath.Join(n.TempDir(), "admin.sock")
	settings := settingsOf(n.T, "--manifests="+n.manifests, "--share-sockets=on", "--admin-socket="+path, "--access-log=off", "--host-ports="+n.hostPorts,
		"--address-pools=192.0.2.64/32", "--http-port=0", "--https-port=0")
	log := slog.New(slog.NewTextHandler(n.Output(), nil)).With("replica", n.replicas)
	stop = inBackground(n.T, func(ctx context.Context) error { return run(ctx, settings, log) })
	untilNil(n.T, "it is ready", func() error { return probe(n.Context(), path, "readyz", n.Output()) })
	return stop
}

func (n *nodeOfReplicas) ask() error {
	location, err := locationOf("http://192.0.2.64/")
	if err == nil && location != "http://moved.example.com/" {
		err = fmt.Errorf("the answer redirects to %q", location)
	}
	return err
}
