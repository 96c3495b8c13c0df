package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// podLogsCommand makes this program, in the machine, write what Lintel's Pods log to files of a
// folder: also that of Pods that are gone at the end.
const podLogsCommand = "pod-logs"

const (
	// maxPodLog bounds the bytes of one Pod's log, of its beginning.
	maxPodLog = 8 << 20
	// maxPodLogs bounds the number of files: those of the newest Pods are kept.
	maxPodLogs = 150
	// podLogsPause is waited before the API server is asked again that did not answer.
	podLogsPause = 200 * time.Millisecond
)

// podLogs are the files.
type podLogs struct {
	client kubernetes.Interface
	dir    string
	errors io.Writer

	known     map[string]struct{} // Pods by name
	files     []string            // the oldest first
	following sync.WaitGroup
}

// followPods follows Pods until its input or ctx ends.
func followPods(ctx context.Context, dir string, in io.Reader, _ io.Writer) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv(clientcmd.RecommendedConfigPathEnvVar))
	if err != nil {
		return fmt.Errorf("follow Pods: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("follow Pods: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, in)
	}()
	p := &podLogs{client: client, dir: dir, errors: os.Stderr, known: map[string]struct{}{}}
	defer p.following.Wait()
	for ctx.Err() == nil {
		p.watch(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(podLogsPause): // the watch ended, as it does from time to time
		}
	}
	return nil
}

// watch follows each Pod that runs, until the API server ends it.
func (p *podLogs) watch(ctx context.Context) {
	watch, err := p.client.CoreV1().Pods(release).Watch(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=lintel"})
	if err != nil {
		return
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		if _, known := p.known[pod.Name]; known {
			continue
		}
		p.known[pod.Name] = struct{}{}
		path := filepath.Join(p.dir, pod.Name+".log")
		p.files = append(p.files, path)
		if len(p.files) > maxPodLogs {
			_ = os.Remove(p.files[0]) // at worst there is one more
			p.files = p.files[1:]
		}
		p.following.Go(func() {
			if err := p.follow(ctx, pod.Name, path); err != nil && ctx.Err() == nil {
				fmt.Fprintf(p.errors, "conformance: follow Pod %s: %v\n", pod.Name, err)
			}
		})
	}
}

// follow writes the log of a Pod to a file until the Pod ends.
func (p *podLogs) follow(ctx context.Context, pod, path string) error {
	limit := int64(maxPodLog)
	log, err := p.client.CoreV1().Pods(release).GetLogs(pod, &corev1.PodLogOptions{Follow: true, LimitBytes: &limit}).Stream(ctx)
	if err != nil {
		return err
	}
	defer log.Close()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, log)
	return errors.Join(err, file.Close())
}

// startPodLogs begins to follow the Pods of the chart; stop ends it, when what they said by
// then is written.
func (c *cluster) startPodLogs(ctx context.Context) (stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	dir := c.podLogs()
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, fmt.Errorf("make folder for logs: %w", err)
	}
	follower := c.command(context.WithoutCancel(ctx), self, podLogsCommand, dir)
	follower.Stderr = os.Stderr
	input, err := follower.StdinPipe()
	if err == nil {
		err = follower.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("follow Pods: %w", err)
	}
	return func() error {
		var exit *exec.ExitError
		if err := errors.Join(input.Close(), follower.Wait()); err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("follow Pods: %w", err)
		}
		return nil
	}, nil
}

func (c *cluster) podLogs() string { return filepath.Join(c.output, "pods") }
