// Command cluster runs the local Kubernetes that Lintel is tested against.
//
//	go run ./conformance/cluster build   build its programs into the user's cache folder
//	go run ./conformance/cluster up      start it, with the Gateway API's CRDs, and print its kubeconfig
//	go run ./conformance/cluster down    end it and remove its data
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
	"github.com/lintel-dev/lintel/conformance/cluster/controlplane"
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
	root.AddCommand(
		&cobra.Command{
			Use: "build", Short: "Build its programs into the user's cache folder", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return build(c.Context(), c.OutOrStdout()) },
		},
		&cobra.Command{
			Use: "up", Short: "Start it, with the Gateway API's CRDs, and print its kubeconfig", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return up(c.Context(), c.OutOrStdout()) },
		},
		&cobra.Command{
			Use: "down", Short: "End it and remove its data", Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return down() },
		},
	)
	return root
}

func build(ctx context.Context, out io.Writer) error {
	b, err := binary.NewBuilder(ctx, slog.Default())
	if err != nil {
		return err
	}
	for _, p := range []binary.Program{binary.Etcd(), binary.KubeAPIServer()} {
		path, err := b.Build(ctx, p)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, path)
	}
	return nil
}

// up replaces a cluster that runs already.
func up(ctx context.Context, out io.Writer) error {
	dir, err := runDir()
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

func down() error {
	dir, err := runDir()
	if err != nil {
		return err
	}
	return controlplane.StopDir(dir)
}

// runDir holds the files of the one cluster that runs in the background.
func runDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	return filepath.Join(cache, "lintel", "cluster", "run"), nil
}
