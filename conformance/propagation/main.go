// Command propagation measures how fast Lintel follows the API server, after the
// probe tests of gateway-api-bench: Routes are created one after the other while each
// is requested all the time, and then many more are created at once.
//
//	go run ./conformance/propagation [-kubeconfig FILE] [-class NAME] [-routes N] [-every D] [-probe D] [-many N] [-changes N]
//
// It makes a namespace of its own on the API server, with a Gateway of the class, and
// removes it at the end. It has to run where the Gateway's addresses and its own
// (-backend) can be reached: on the node. It exits with 1 if an answer was wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// options are what is measured.
type options struct {
	class   string
	port    int           // of the Gateway
	backend string        // address of this process for the endpoints
	routes  int           // that are created one after the other
	every   time.Duration // between two of them
	probe   time.Duration // between two requests for one Route
	many    int           // Routes at once; 0 leaves this part out
	changes int           // of single Routes beside the many
}

// errWrong says that a Route answered wrongly after it had answered rightly.
var errWrong = errors.New("answers were wrong")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "propagation:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("propagation", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "`file` that says how to reach the API server; empty: $KUBECONFIG")
	flags.StringVar(&o.class, "class", "lintel", "`name` of the GatewayClass")
	flags.IntVar(&o.port, "port", 8090, "port of the Gateway")
	flags.StringVar(&o.backend, "backend", "10.244.0.1", "`address` of this machine, for the endpoints")
	flags.IntVar(&o.routes, "routes", 60, "how many Routes are created one after the other")
	flags.DurationVar(&o.every, "every", time.Second, "time between two of them")
	flags.DurationVar(&o.probe, "probe", 10*time.Millisecond, "time between two requests for one Route")
	flags.IntVar(&o.many, "many", 3000, "how many Routes are then created at once; 0: none")
	flags.IntVar(&o.changes, "changes", 50, "how many Routes are changed beside the many")
	if err := flags.Parse(args); err != nil {
		return err
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = *kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return fmt.Errorf("load kubeconfig: %w", err)
	}
	config.QPS = -1 // the API server's own limits are enough
	site, err := newSite(ctx, config, &o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.remove()) }()
	if err := site.followOneByOne(ctx, out); err != nil {
		return err
	}
	if o.many == 0 {
		return nil
	}
	return site.followMany(ctx, out)
}
