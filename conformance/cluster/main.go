// Command cluster runs the local Kubernetes that Lintel is tested against.
//
//	go run ./conformance/cluster build       build its programs into the user's cache folder
//	go run ./conformance/cluster up          start it, with the Gateway API's CRDs (experimental channel)
//	go run ./conformance/cluster up --no-kube-proxy   the same without it, for Lintel's socket-lb=node
//	go run ./conformance/cluster exec CMD…   run a command in it, with kubectl and ctr at hand
//	go run ./conformance/cluster load FILE…  give its node the images of archives
//	go run ./conformance/cluster down        end it and remove its data
//
// It is a machine of its own, made of Linux namespaces (package machine), with a real
// node that runs Pods (package node): everything in it is reached by exec, and
// nothing of it from outside. Only root can start it. The folder run/machine/log of
// the cache folder, ~/.cache/lintel/cluster, has the logs of Pods, and
// run/machine/controlplane those of all programs.
//
// `up --api-only` starts an API server alone, on a loopback address of this machine,
// and prints its kubeconfig. Anybody can.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
	"github.com/lintel-dev/lintel/conformance/cluster/controlplane"
	"github.com/lintel-dev/lintel/conformance/cluster/machine"
	"github.com/lintel-dev/lintel/conformance/cluster/node"
)

func main() {
	if err := run(); err != nil {
		os.Exit(1) // cobra has printed the error
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return command().ExecuteContext(ctx)
}

func command() *cobra.Command {
	root := &cobra.Command{Use: "cluster", Short: "Run the local Kubernetes that Lintel is tested against", SilenceUsage: true}
	var apiOnly, noProxy bool
	up := &cobra.Command{
		Use: "up", Short: "Start it, with the Gateway API's CRDs; replaces one that runs", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if apiOnly {
				return upAPIOnly(c.Context(), c.OutOrStdout())
			}
			return up(c.Context(), noProxy)
		},
	}
	up.Flags().BoolVar(&apiOnly, "api-only", false, "start an API server alone, and print its kubeconfig")
	up.Flags().BoolVar(&noProxy, noProxyFlag, false, "leave kube-proxy out, as with Lintel's socket-lb=node")
	start := &cobra.Command{
		Use: startNode, Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return start(c.Context(), noProxy) },
	}
	start.Flags().AddFlag(up.Flags().Lookup(noProxyFlag))
	root.AddCommand(up, start,
		&cobra.Command{
			Use: "build", Short: "Build its programs into the user's cache folder", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return build(c.Context(), c.OutOrStdout()) },
		},
		&cobra.Command{
			Use: "exec CMD…", Short: "Run a command in it", Args: cobra.MinimumNArgs(1), DisableFlagParsing: true,
			RunE: func(_ *cobra.Command, args []string) error { return execIn(args) },
		},
		&cobra.Command{
			Use: "load FILE…", Short: "Give its node the images of archives", Args: cobra.MinimumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error { return load(c.Context(), args) },
		},
		&cobra.Command{
			Use: "down", Short: "End it and remove its data", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return down() },
		},
	)
	return root
}

// startNode is the command that `up` runs in the machine.
const startNode = "start-node"

const noProxyFlag = "no-kube-proxy"

func build(ctx context.Context, out io.Writer) error {
	b, err := binary.NewBuilder(ctx, slog.Default())
	if err != nil {
		return err
	}
	for _, p := range node.Programs() {
		path, err := b.Build(ctx, p)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, path)
	}
	return nil
}

// up replaces a cluster that runs already.
func up(ctx context.Context, noProxy bool) error {
	if err := node.CheckTools(); err != nil {
		return err
	}
	if err := down(); err != nil {
		return err
	}
	n, err := firstNode()
	if err != nil {
		return err
	}
	b, err := binary.NewBuilder(ctx, slog.Default())
	if err != nil {
		return err
	}
	if err := n.Install(ctx, b); err != nil {
		return err
	}
	m, err := machine.Start(n.Dir, n.FirstProcess())
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	cmd := m.Command(ctx, self, startNode, fmt.Sprintf("--%s=%t", noProxyFlag, noProxy))
	cmd.Env = append(os.Environ(), n.Environment()...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		// What ran there can be looked at until the next `up` or `down`.
		return errors.Join(fmt.Errorf("start node: %w; see the logs in %s", err, n.Dir), m.Stop(), node.RemoveCgroups())
	}
	return nil
}

// start does in the machine what is to be done there.
func start(ctx context.Context, noProxy bool) error {
	n, err := firstNode()
	if err != nil {
		return err
	}
	n.NoProxy = noProxy
	return n.Start(ctx, slog.Default())
}

// execIn becomes the command.
func execIn(args []string) error {
	n, err := firstNode()
	if err != nil {
		return err
	}
	m, err := machine.Open(n.Dir)
	if err != nil {
		return err
	}
	line := m.Args(args...)
	path, err := exec.LookPath(line[0])
	if err != nil {
		return fmt.Errorf("find %s: %w", line[0], err)
	}
	return syscall.Exec(path, line, append(os.Environ(), n.Environment()...))
}

func load(ctx context.Context, archives []string) error {
	n, err := firstNode()
	if err != nil {
		return err
	}
	m, err := machine.Open(n.Dir)
	if err != nil {
		return err
	}
	for _, archive := range archives {
		cmd := m.Command(ctx, "ctr", "images", "import", archive)
		cmd.Env = append(os.Environ(), n.Environment()...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("import %s: %w", archive, err)
		}
	}
	return nil
}

func upAPIOnly(ctx context.Context, out io.Writer) error {
	dir, err := apiDir()
	if err != nil {
		return err
	}
	if err := controlplane.StopDir(dir); err != nil {
		return err
	}
	c, err := controlplane.Start(ctx, controlplane.Options{Dir: dir, Log: slog.Default()})
	if err != nil {
		return err
	}
	if err := c.InstallCRDs(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "export KUBECONFIG=%s\n", c.Kubeconfig)
	return nil
}

// down ends both kinds.
func down() error {
	dir, err := apiDir()
	if err != nil {
		return err
	}
	if err := controlplane.StopDir(dir); err != nil {
		return err
	}
	n, err := firstNode()
	if err != nil {
		return err
	}
	switch m, err := machine.Open(n.Dir); {
	case err == nil:
		if err := m.Stop(); err != nil {
			return err
		}
	case !errors.Is(err, machine.ErrNotRunning):
		return err
	}
	if err := node.RemoveCgroups(); err != nil {
		return err
	}
	if err := os.RemoveAll(n.Dir); err != nil {
		return fmt.Errorf("remove files: %w", err)
	}
	return nil
}

func firstNode() (node.Node, error) {
	dir, err := node.RunDir()
	return node.First(dir), err
}

// apiDir holds the files of an API server alone.
func apiDir() (string, error) {
	dir, err := node.RunDir()
	return filepath.Join(filepath.Dir(dir), "api"), err
}
