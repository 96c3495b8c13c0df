package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// creators is how many clients create many Routes at once.
const creators = 16

// followOneByOne creates a Route every so often, and requests each all the time from
// before it was created until the end.
func (s *site) followOneByOne(ctx context.Context, out io.Writer) error {
	probing, stop := context.WithCancel(ctx)
	defer stop()
	var (
		probers  sync.WaitGroup
		mu       sync.Mutex
		took     durations
		wrong    atomic.Int64
		requests atomic.Int64
	)
	ticker := time.NewTicker(s.options.every)
	defer ticker.Stop()
	for i := range s.options.routes {
		p := &prober{site: s, host: fmt.Sprintf("route-%d.example.test", i), requests: &requests, wrong: &wrong}
		start := time.Now()
		if err := s.createRoute(ctx, fmt.Sprintf("route-%d", i), p.host); err != nil {
			return err
		}
		probers.Go(func() {
			p.run(probing, func(right time.Time) {
				mu.Lock()
				defer mu.Unlock()
				took = append(took, right.Sub(start))
			})
		})
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	stop()
	probers.Wait()
	fmt.Fprintf(out, "one by one: %d Routes, %d never answered, creation to first 200: %s; %d requests, %d wrong after the first right one\n",
		s.options.routes, s.options.routes-len(took), took, requests.Load(), wrong.Load())
	if wrong.Load() > 0 || len(took) < s.options.routes {
		return errWrong
	}
	return nil
}

// followMany creates many Routes at once, waits for their statuses, and then measures
// single changes beside them.
func (s *site) followMany(ctx context.Context, out io.Writer) error {
	start := time.Now()
	if err := s.createMany(ctx); err != nil {
		return err
	}
	created := time.Now()
	if err := s.awaitStatuses(ctx, s.options.routes+s.options.many); err != nil {
		return err
	}
	fmt.Fprintf(out, "many: %d Routes created in %s; all have a status %s after the last\n",
		s.options.many, created.Sub(start).Round(time.Millisecond), time.Since(created).Round(time.Millisecond))
	var took durations
	for i := range s.options.changes {
		d, err := s.change(ctx, i)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	fmt.Fprintf(out, "changes: %d beside %d Routes, creation to first 200: %s\n", s.options.changes, s.options.routes+s.options.many, took)
	return nil
}

func (s *site) createMany(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(creators)
	for i := range s.options.many {
		group.Go(func() error {
			return s.createRoute(ctx, fmt.Sprintf("many-%d", i), fmt.Sprintf("many-%d.example.test", i))
		})
	}
	return group.Wait()
}

// awaitStatuses waits until so many Routes are accepted.
func (s *site) awaitStatuses(ctx context.Context, want int) error {
	const interval = 250 * time.Millisecond
	err := wait.PollUntilContextTimeout(ctx, interval, settleTimeout, true, func(ctx context.Context) (bool, error) {
		// Of the API server's cache, which is what watchers see.
		list, err := s.gateway.HTTPRoutes(name).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return false, err
		}
		accepted := 0
		for i := range list.Items {
			if isAccepted(&list.Items[i]) {
				accepted++
			}
		}
		return accepted >= want, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the statuses of %d Routes: %w", want, err)
	}
	return nil
}

func isAccepted(r *gatewayv1.HTTPRoute) bool {
	for _, p := range r.Status.Parents {
		if meta.IsStatusConditionTrue(p.Conditions, string(gatewayv1.RouteConditionAccepted)) {
			return true
		}
	}
	return false
}

// change creates one Route more, and returns how long it took to answer.
func (s *site) change(ctx context.Context, i int) (time.Duration, error) {
	ctx, stop := context.WithTimeout(ctx, settleTimeout)
	defer stop()
	p := &prober{site: s, host: fmt.Sprintf("change-%d.example.test", i), requests: new(atomic.Int64), wrong: new(atomic.Int64)}
	start := time.Now()
	if err := s.createRoute(ctx, fmt.Sprintf("change-%d", i), p.host); err != nil {
		return 0, err
	}
	var took time.Duration
	p.run(ctx, func(right time.Time) {
		took = right.Sub(start)
		stop()
	})
	if took == 0 {
		return 0, fmt.Errorf("wait for an answer of %s: none within %s", p.host, settleTimeout)
	}
	return took, nil
}
