// Command services shows that Pods reach Services on a node without kube-proxy, by
// Lintel's socket-lb=node. It must be called in the project's folder, by root.
//
//	go run ./conformance/services
//
// On a fresh cluster of conformance/cluster it installs the chart, and in a Pod connects to
// Services by TCP and UDP, to the DNS, and to the API server. Then a client makes 1,000
// connections a second while endpoints come and go, and Lintel itself is replaced: none
// may fail, go to an endpoint that had left its EndpointSlices before, or say that its peer
// is not the Service. In the end everything is detached.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == serveCommand:
		err = serve(ctx)
	case len(os.Args) > 1 && os.Args[1] == askCommand:
		err = ask(ctx)
	case len(os.Args) > 1 && os.Args[1] == loadCommand:
		err = load(ctx)
	case len(os.Args) > 1 && os.Args[1] == idleCommand:
		<-ctx.Done()
	default:
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "services:", err)
		os.Exit(1)
	}
}

// settle is how long a change of an EndpointSlice may take to come into effect on the node.
const settle = time.Second

func run(ctx context.Context) (err error) {
	c, err := startCluster(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			fmt.Fprintln(os.Stderr, c.log(context.WithoutCancel(ctx)))
		}
		err = errors.Join(err, cluster(context.WithoutCancel(ctx), "down"))
	}()
	if err := c.deploy(ctx); err != nil {
		return err
	}
	if out, err := c.inPod(ctx, askCommand); err == nil {
		return fmt.Errorf("before Lintel is there Services are reached: %s", out)
	}
	if err := c.install(ctx); err != nil {
		return err
	}
	out, err := c.inPod(ctx, askCommand)
	if err != nil {
		return err
	}
	fmt.Print(out)
	if err := c.changeUnderLoad(ctx); err != nil {
		return err
	}
	out, err = c.lintel(ctx, "bpf", "status")
	if err != nil || !strings.Contains(out, "active: 9 of 9 programs") {
		return fmt.Errorf("lintel bpf status: %w\n%s", err, out)
	}
	fmt.Print(out)
	if _, err = c.lintel(ctx, "bpf", "detach"); err != nil {
		return err
	}
	if out, err := c.inPod(ctx, askCommand); err == nil {
		return fmt.Errorf("after all was detached Services are reached: %s", out)
	}
	return nil
}

// changeUnderLoad makes connections while endpoints come and go, and Lintel is replaced.
func (c *world) changeUnderLoad(ctx context.Context) error {
	loaded := make(chan error, 1)
	var report loadReport
	go func() {
		out, err := c.inPod(ctx, loadCommand)
		if err == nil {
			err = json.Unmarshal([]byte(out), &report)
		}
		loaded <- err
	}()
	for _, step := range [][]string{
		{"scale", "deployment/web", "--replicas=6"},
		{"rollout", "status", "deployment/web", "--timeout=1m"},
		{"--namespace=lintel", "rollout", "restart", "daemonset/lintel"},
		{"--namespace=lintel", "rollout", "status", "daemonset/lintel", "--timeout=1m"},
		{"scale", "deployment/web", "--replicas=2"},
	} {
		if _, err := c.kubectl(ctx, "", step...); err != nil {
			return errors.Join(err, <-loaded)
		}
	}
	left, since, err := c.awaitEndpoints(ctx, 2)
	if err := errors.Join(err, <-loaded); err != nil {
		return err
	}
	fmt.Printf("%d connections at %d a second, to %d endpoints: %d failed, %d with another peer\n",
		report.Connections, loadRate, len(report.Last), report.Failed, report.OtherPeer)
	if report.Failed > 0 || report.OtherPeer > 0 {
		return fmt.Errorf("the first that is wrong: %s", report.Fault)
	}
	if report.Connections < loadRate*int(loadTime/time.Second)*3/4 {
		return errors.New("too few connections to be a load")
	}
	if len(report.Last) < 6 {
		return fmt.Errorf("connections went to %d of 6 endpoints", len(report.Last))
	}
	for name, last := range report.Last {
		if late := last.Sub(since); late > settle && !slices.Contains(left, name) {
			return fmt.Errorf("a connection went to %s %s after it had left the EndpointSlices", name, late)
		}
	}
	return nil
}
