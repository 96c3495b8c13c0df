// Command run runs the official conformance suite of Gateway API against Lintel, on
// the local cluster of conformance/cluster, and compares the report with the one in
// conformance/reports. It must be called in the project's folder, by root.
//
//	go run ./conformance/run                                    everything, on a fresh cluster: `make conformance`
//	go run ./conformance/run -keep -lintel bin/lintel -test HTTPRouteCORS
//	go run ./conformance/run -keep -lintel bin/lintel -profiles GATEWAY-TCP,GATEWAY-UDP
//	go run ./conformance/run -lintel bin/lintel -through-edge   the core of HTTPRoutes, through Cloudflare Tunnels
//	go run ./conformance/run -replicas 2                        a Deployment of two Pods on the one node
//	go run ./conformance/run -replicas 2 -rollout -profiles GATEWAY-HTTP
//	go run ./conformance/run -replicas 2 -rollouts 60 -set settings.hostPorts=sk_lookup
//
// The chart is installed with an image made of the project as it is. With -lintel a
// program runs beside the Pods instead, with the same permissions, which is faster.
// With -keep the cluster of an earlier run is used if there is one, and stays; only
// Lintel and the suite's own objects are new. Runs at the same time take turns.
//
// With -through-edge each Gateway of the suite has a Tunnel, and no sockets of its own: its
// requests go to a fake of Cloudflare's edge, and come by the connections that Lintel has there.
//
// With -rollout Lintel's Pods are replaced again and again (`kubectl rollout restart`) while
// the suite runs, and a prober requests every few milliseconds, over new connections
// and kept ones, from a Gateway of its own. One request that fails fails the run. With
// -rollouts they are replaced so many times, and no suite runs.
//
// What a run leaves is in the folder conformance of the cache folder,
// ~/.cache/lintel/conformance: suite.log, lintel.log or the folder pods with the log of each of
// Lintel's Pods, results.md and report.yaml.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if helpers := map[string]func(context.Context, string, io.Reader, io.Writer) error{probeCommand: probe, edgeCommand: runEdge, podLogsCommand: followPods}; len(os.Args) == 3 && helpers[os.Args[1]] != nil {
		if err := helpers[os.Args[1]](ctx, os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "conformance:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// options are what a run is to do.
type options struct {
	keep     bool
	lintel   string // path; "" installs the chart
	flags    string // more flags for Lintel
	test     string // "" is all
	profiles string
	features string // featuresClaimed or featuresAll
	report   string // path of the report to compare with
	replicas int    // 0 installs a DaemonSet
	rollout  bool   // replace the Pods meanwhile
	rollouts int    // replace them so many times, and run no suite
	values   string // more of them for the chart
	edge     bool   // let requests go through tunnels
	output   string // folder
}

// Which features are tested: those that the GatewayClass says are supported, or all.
const (
	featuresClaimed = "claimed"
	featuresAll     = "all"
)

// allProfiles are those of a gateway.
const allProfiles = "GATEWAY-HTTP,GATEWAY-GRPC,GATEWAY-TLS,GATEWAY-TCP,GATEWAY-UDP"

func parseOptions(args []string) (options, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return options{}, fmt.Errorf("find cache folder: %w", err)
	}
	o := options{output: filepath.Join(cache, "lintel", "conformance")}
	set := flag.NewFlagSet("run", flag.ContinueOnError)
	set.BoolVar(&o.keep, "keep", false, "use a cluster that runs, and leave it")
	set.StringVar(&o.lintel, "lintel", "", "`program` to test, instead of the chart")
	set.StringVar(&o.flags, "lintel-flags", "--address-pools "+pool, "`flags` for that program, separated by spaces")
	set.StringVar(&o.test, "test", "", "run the test of this `name` alone, and make no report")
	set.StringVar(&o.profiles, "profiles", allProfiles, "`profiles` to test, separated by commas")
	set.StringVar(&o.features, "features", featuresClaimed, "test those that are `claimed` by the GatewayClass's status, or all")
	set.StringVar(&o.report, "report", "conformance/reports/gateway-api-v1.7.0.yaml", "`file` to compare a full run with, and to replace by it unless it is worse")
	set.IntVar(&o.replicas, "replicas", 0, "`number` of Pods of a Deployment; 0 installs a DaemonSet")
	set.BoolVar(&o.rollout, "rollout", false, "replace the Pods while the suite runs, with a prober attached")
	set.IntVar(&o.rollouts, "rollouts", 0, "replace the Pods so many `times`, with a prober attached, and run no suite")
	set.StringVar(&o.values, "set", "", "more `values` for the chart, as Helm's --set has them")
	set.BoolVar(&o.edge, "through-edge", false, "let requests go through tunnels, by a fake of Cloudflare's edge; tests the core of HTTPRoutes; needs -lintel")
	if err := set.Parse(args); err != nil {
		return options{}, err
	}
	if o.edge && o.lintel == "" {
		return options{}, errors.New("-through-edge needs -lintel: the edge runs beside it")
	}
	if o.lintel != "" && (o.replicas > 0 || o.rollout || o.rollouts > 0 || o.values != "") {
		return options{}, errors.New("-replicas, -rollout, -rollouts and -set are for the chart, not for -lintel")
	}
	if o.features != featuresClaimed && o.features != featuresAll {
		return options{}, fmt.Errorf("-features must be %s or %s", featuresClaimed, featuresAll)
	}
	return o, nil
}

// full says whether the run makes a report that can be compared.
func (o options) full() bool {
	return o.test == "" && o.profiles == allProfiles && !o.rollout && o.rollouts == 0 && o.values == "" && !o.edge && o.features == featuresClaimed
}

// workload is what the chart makes, as kind/name.
func (o options) workload() string {
	if o.replicas > 0 {
		return "deployment/" + release
	}
	return "daemonset/" + release
}

func run(ctx context.Context, args []string, out io.Writer) error {
	start := time.Now()
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.output, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	unlock, err := binary.Lock(ctx, filepath.Join(o.output, "lock"), func() {
		fmt.Fprintln(os.Stderr, "conformance: waiting for another run to end")
	})
	if err != nil {
		return err
	}
	defer unlock()
	c, err := prepareCluster(ctx, o)
	if err != nil {
		return err
	}
	results, err := testOn(ctx, c, o, out)
	if !o.keep {
		err = errors.Join(err, clusterCommand(context.WithoutCancel(ctx), "down"))
	}
	if err != nil {
		return err
	}
	results.print(out)
	if err := os.WriteFile(filepath.Join(o.output, "results.md"), []byte(results.markdown()), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	fmt.Fprintf(out, "%s, in %s; logs and results are in %s\n", results, time.Since(start).Round(time.Second), o.output)
	if o.full() {
		return settle(o, out)
	}
	return results.failure()
}

func testOn(ctx context.Context, c *cluster, o options, out io.Writer) (results, error) {
	lintel, err := c.startLintel(ctx, o)
	if err != nil {
		return results{}, err
	}
	suite := c.runSuite
	if o.rollout || o.rollouts > 0 {
		suite = func(ctx context.Context, o options, version string) (results, error) {
			return c.rollOutUnder(ctx, o, version, out)
		}
	}
	r, err := suite(ctx, o, lintel.version)
	return r, errors.Join(err, lintel.remove())
}

// settle compares the fresh report with the committed one, and takes its place
// unless it is worse.
func settle(o options, out io.Writer) error {
	content, err := os.ReadFile(filepath.Join(o.output, "report.yaml"))
	if err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	fresh, err := parseReport(content)
	if err != nil {
		return err
	}
	fmt.Fprint(out, fresh)
	committed, err := os.ReadFile(o.report)
	if err == nil {
		before, err := parseReport(committed)
		if err != nil {
			return err
		}
		if worse := fresh.worseThan(before); len(worse) > 0 {
			return fmt.Errorf("worse than %s:\n  %s", o.report, strings.Join(worse, "\n  "))
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(o.report), 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(o.report, content, 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
