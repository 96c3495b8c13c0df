package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/lintel-dev/lintel/deploy/helm"
)

// The image that the chart is installed with, made of the project as it is.
const (
	imageName = "ghcr.io/lintel-dev/lintel"
	imageTag  = "conformance"
)

// release is both the name and the namespace of the chart's installation.
const release = "lintel"

// installChart makes the image, and installs the chart as a user does: one Pod on each
// node, or some wherever they are, in the node's network, where the addresses of Gateways
// are.
func (c *cluster) installChart(ctx context.Context, o options) (*installation, error) {
	archive := filepath.Join(c.output, "lintel.tar")
	if out, err := exec.CommandContext(ctx, "go", "run", "./deploy/image", "-o", archive,
		"-platform", "linux/"+runtime.GOARCH, "-name", imageName+":"+imageTag).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make image: %w: %s", err, out)
	}
	if out, err := c.command(ctx, "ctr", "images", "import", archive).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("import image: %w: %s", err, out)
	}
	args := []string{
		"install", release, "deploy/chart", "--create-namespace", "--wait", "--timeout=3m",
		"--set=exposure=HostNetwork", "--set=image.tag=" + imageTag, "--set=gatewayClass.name=" + className,
		"--set=settings.addressPools={" + pool + "}",
	}
	if o.replicas > 0 {
		args = append(args, "--set=kind=Deployment", fmt.Sprint("--set=replicas=", o.replicas))
	}
	if o.values != "" {
		args = append(args, "--set="+o.values)
	}
	stopLogs, err := c.startPodLogs(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.helm(ctx, args...); err != nil {
		return nil, errors.Join(err, stopLogs())
	}
	return &installation{
		version: sourceVersion(ctx), log: c.podLogs(),
		remove: func() error { return errors.Join(c.uninstallChart(context.WithoutCancel(ctx)), stopLogs()) },
	}, nil
}

// sourceVersion is what Git calls the project as it is.
func sourceVersion(ctx context.Context) string {
	version, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil { // a source archive
		return "unknown"
	}
	return strings.TrimSpace(string(version))
}

// uninstallChart is content when there is nothing to uninstall.
func (c *cluster) uninstallChart(ctx context.Context) error {
	return c.helm(ctx, "uninstall", release, "--ignore-not-found", "--wait", "--timeout=2m")
}

// helm runs Helm in the machine, in the release's namespace.
func (c *cluster) helm(ctx context.Context, args ...string) error {
	program, err := helm.Build(ctx, slog.Default())
	if err != nil {
		return err
	}
	cmd := c.command(ctx, append([]string{program}, append(args, "--namespace="+release)...)...)
	for _, folder := range []string{"CACHE", "CONFIG", "DATA"} { // not the user's
		cmd.Env = append(cmd.Env, "HELM_"+folder+"_HOME="+filepath.Join(c.node.Dir, "helm", strings.ToLower(folder)))
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("helm %s: %w: %s", args[0], err, out)
	}
	return nil
}
