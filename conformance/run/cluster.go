package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/lintel-dev/lintel/conformance/cluster/machine"
	"github.com/lintel-dev/lintel/conformance/cluster/node"
)

// cluster is the running one.
type cluster struct {
	node    node.Node
	machine *machine.Machine
	output  string // folder for logs
}

// clusterCommand calls conformance/cluster, which is a program because a part of it
// runs in the machine that it starts.
func clusterCommand(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "./conformance/cluster"}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cluster %s: %w", args[0], err)
	}
	return nil
}

// prepareCluster starts the cluster, or cleans the one that is to be kept.
func prepareCluster(ctx context.Context, o options) (*cluster, error) {
	dir, err := node.RunDir()
	if err != nil {
		return nil, err
	}
	c := &cluster{node: node.First(dir), output: o.output}
	if o.keep {
		switch c.machine, err = machine.Open(dir); {
		case err == nil:
			return c, c.clean(ctx)
		case !errors.Is(err, machine.ErrNotRunning):
			return nil, err
		}
	}
	if err := clusterCommand(ctx, "up"); err != nil {
		return nil, err
	}
	c.machine, err = machine.Open(dir)
	return c, err
}

// clean removes the suite's objects of an earlier run: its certificates are made
// anew, and backends don't notice.
func (c *cluster) clean(ctx context.Context) error {
	all, err := c.kubectl(ctx, "", "get", "namespaces", "--output=name")
	if err != nil {
		return err
	}
	var left []string
	for name := range strings.Lines(all) {
		if name = strings.TrimSpace(name); strings.HasPrefix(name, "namespace/gateway-") {
			left = append(left, name)
		}
	}
	if len(left) == 0 {
		return nil
	}
	_, err = c.kubectl(ctx, "", append([]string{"delete", "--timeout=3m"}, left...)...)
	return err
}

// command prepares to run something in the machine.
func (c *cluster) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := c.machine.Command(ctx, args...)
	cmd.Env = append(os.Environ(), c.node.Environment()...)
	return cmd
}

// kubectl returns what it writes to standard output.
func (c *cluster) kubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := c.command(ctx, append([]string{"kubectl"}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
