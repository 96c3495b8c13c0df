// Package helm runs Helm (https://helm.sh). It is built from the Go module proxy, out
// of a module of its own (program/), since Lintel needs nothing that Helm needs.
package helm

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
)

// program is Helm, seen from conformance/cluster.
func program() binary.Program {
	return binary.Program{Name: "helm", Module: "../../deploy/helm/program", Package: "helm.sh/helm/v4/cmd/helm"}
}

// Helm runs commands of the program. It may be used from any goroutine.
type Helm struct {
	path string
	home string
}

// New returns a Helm that keeps its own files in home, a folder that exists, and
// reads none of the user's. It builds the program unless it is cached.
func New(ctx context.Context, home string, log *slog.Logger) (*Helm, error) {
	path, err := Build(ctx, log)
	if err != nil {
		return nil, err
	}
	return &Helm{path: path, home: home}, nil
}

// Build returns the path of the program, which it builds unless it is cached.
func Build(ctx context.Context, log *slog.Logger) (string, error) {
	builder, err := binary.NewBuilder(ctx, log)
	if err != nil {
		return "", err
	}
	return builder.Build(ctx, program())
}

// Run returns what a command writes to standard output. The error has what it wrote
// to standard error.
func (h *Helm) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, h.path, args...)
	cmd.Env = append(os.Environ(),
		"HELM_CACHE_HOME="+filepath.Join(h.home, "cache"), "HELM_CONFIG_HOME="+filepath.Join(h.home, "config"), "HELM_DATA_HOME="+filepath.Join(h.home, "data"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("helm %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
