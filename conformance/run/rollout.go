package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	// probeNamespace begins like those of the suite, and so is removed like those.
	probeNamespace = "gateway-rollout-probe"
	// betweenRollouts is longer than the Pods that leave need to drain. The pauses are shorter
	// at random: some rollouts begin while Pods of the one before still leave.
	betweenRollouts = 5 * time.Second
	siteTimeout     = time.Minute
)

// probeSite is a Gateway of the prober's own, and what is behind it.
const probeSite = `
apiVersion: v1
kind: Namespace
metadata: {name: ` + probeNamespace + `}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: ` + probeNamespace + `}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/conformance/echo-basic:v0.2.0
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: ` + probeNamespace + `}
spec:
  selector: {app: echo}
  ports: [{port: 80, targetPort: 3000}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: probe, namespace: ` + probeNamespace + `}
spec:
  gatewayClassName: ` + className + `
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: probe, namespace: ` + probeNamespace + `}
spec:
  parentRefs: [{name: probe}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
`

// rollout replaces Lintel's Pods again and again, while a prober requests from a Gateway
// that has nothing to do with the suite.
type rollout struct {
	cluster  *cluster
	workload string // kind/name

	prober   *exec.Cmd
	input    io.Closer // of the prober, which ends with it
	output   bytes.Buffer
	stop     context.CancelFunc
	stopped  chan error
	ended    chan struct{} // closed when no more Pods are replaced
	rollouts int
}

// startRollout returns when the prober runs, and Pods are replaced from then on: until end, if
// the options say no number.
func (c *cluster) startRollout(ctx context.Context, o options) (*rollout, error) {
	address, err := c.prepareSite(ctx)
	if err != nil {
		return nil, fmt.Errorf("prepare the prober's Gateway: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	r := &rollout{cluster: c, workload: o.workload(), stopped: make(chan error, 1), ended: make(chan struct{})}
	r.prober = c.command(context.WithoutCancel(ctx), self, probeCommand, "http://"+address+"/")
	r.prober.Stdout, r.prober.Stderr = &r.output, os.Stderr
	if r.input, err = r.prober.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start prober: %w", err)
	}
	if err := r.prober.Start(); err != nil {
		return nil, fmt.Errorf("start prober: %w", err)
	}
	ctx, r.stop = context.WithCancel(ctx)
	go func() { r.stopped <- r.repeat(ctx, o.rollouts) }()
	return r, nil
}

// rollOutUnder replaces Pods, while the suite runs or as often as the options say.
func (c *cluster) rollOutUnder(ctx context.Context, o options, version string, out io.Writer) (results, error) {
	rolling, err := c.startRollout(ctx, o)
	if err != nil {
		return results{}, err
	}
	r := results{unasked: o.rollouts > 0}
	if r.unasked {
		<-rolling.ended
	} else {
		r, err = c.runSuite(ctx, o, version)
	}
	probes, rollErr := rolling.end()
	if err = errors.Join(err, rollErr); err != nil {
		return r, err
	}
	fmt.Fprintf(out, "%d rollouts of %s: %v\n", rolling.rollouts, rolling.workload, probes)
	r.probes = probes
	return r, nil
}

// prepareSite returns the address of the prober's Gateway when it serves.
func (c *cluster) prepareSite(ctx context.Context) (string, error) {
	if _, err := c.kubectl(ctx, probeSite, "apply", "--filename=-"); err != nil {
		return "", err
	}
	in, timeout := "--namespace="+probeNamespace, "--timeout="+siteTimeout.String()
	if _, err := c.kubectl(ctx, "", "rollout", "status", "deployment/echo", in, timeout); err != nil {
		return "", err
	}
	if _, err := c.kubectl(ctx, "", "wait", "--for=condition=Programmed", "gateway/probe", in, timeout); err != nil {
		return "", err
	}
	address, err := c.kubectl(ctx, "", "get", "gateway/probe", in, "--output=jsonpath={.status.addresses[0].value}")
	if err != nil {
		return "", err
	}
	// The address may come to the node a moment later, and endpoints to Lintel.
	ctx, cancel := context.WithTimeout(ctx, siteTimeout)
	defer cancel()
	for {
		out, err := c.command(ctx, "curl", "--silent", "--show-error", "--fail", "--max-time", "1", "http://"+address+"/").CombinedOutput()
		if err == nil {
			return address, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("wait for the first answer: %w: %s", err, out)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// repeat replaces the Pods so many times, or if that is 0 until ctx ends, and finishes what
// it has begun.
func (r *rollout) repeat(ctx context.Context, times int) error {
	defer close(r.ended)
	in, bounded := "--namespace="+release, context.WithoutCancel(ctx)
	for ctx.Err() == nil && (times == 0 || r.rollouts < times) {
		if _, err := r.cluster.kubectl(bounded, "", "rollout", "restart", r.workload, in); err != nil {
			return err
		}
		if _, err := r.cluster.kubectl(bounded, "", "rollout", "status", r.workload, in, "--timeout=3m"); err != nil {
			return err
		}
		r.rollouts++
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(betweenRollouts)):
		}
	}
	return nil
}

// end ends the rollouts and the prober, and says what became of the probes.
func (r *rollout) end() (*probes, error) {
	r.stop()
	rolled := <-r.stopped
	const last = 2 * time.Second // of probes, after the last rollout
	time.Sleep(last)
	closed := r.input.Close()
	if err := errors.Join(rolled, closed, r.prober.Wait()); err != nil {
		return nil, fmt.Errorf("roll out: %w", err)
	}
	var p probes
	if err := json.Unmarshal(r.output.Bytes(), &p); err != nil {
		return nil, fmt.Errorf("read probes: %w", err)
	}
	return &p, nil
}

func joinLines(lines []string) string { return strings.Join(lines, "\n  ") }
