package controlplane

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// readyPoll is how often a starting server is asked.
const readyPoll = 50 * time.Millisecond

// waitReady returns when the API server is ready and has made its own objects.
func (c *ControlPlane) waitReady(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return c.Poll(ctx, "wait until the API server is ready", func() error {
		if _, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
			return err
		}
		_, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		return err
	})
}

// Poll repeats try until it returns nil. It gives up when ctx ends or a process did.
func (c *ControlPlane) Poll(ctx context.Context, doing string, try func() error) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			select {
			case <-p.Done():
				return fmt.Errorf("%s: %w", doing, p.Failure())
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", doing, ctx.Err(), err)
		case <-tick.C:
		}
	}
}
