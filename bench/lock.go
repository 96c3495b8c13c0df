package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
)

// alone waits until no other run of this user measures: two would share the cores.
func alone(ctx context.Context, log io.Writer) (release func(), err error) {
	dir, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	return binary.Lock(ctx, filepath.Join(dir, "lock"), func() {
		fmt.Fprintln(log, "another run measures; waiting for its end")
	})
}

// cacheFolder returns the folder for what stays from run to run.
func cacheFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	dir := filepath.Join(cache, "lintel", "bench")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make cache folder: %w", err)
	}
	return dir, nil
}

// buildPeer returns the path of a proxy that is built from the Go module proxy, once. Its
// version is pinned by a Go module of its own, the folder of its name, so that nothing of it
// enters Lintel's go.mod.
func buildPeer(ctx context.Context, name, importPath string) (string, error) {
	builder, err := binary.NewBuilder(ctx, slog.Default())
	if err != nil {
		return "", err
	}
	return builder.Build(ctx, binary.Program{Name: name, Module: "../../bench/" + name, Package: importPath})
}
