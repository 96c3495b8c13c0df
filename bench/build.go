package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// goProgram is a proxy that is built from the Go module proxy, once: later runs
// find it in the user's cache folder. Its version is pinned by a Go module of its
// own, so that nothing of it enters Lintel's go.mod.
type goProgram struct {
	name       string
	module     string // folder below bench that holds its go.mod
	importPath string // of its main package
}

// build returns the path of the program. The file's name says what it is made from.
func (p goProgram) build(ctx context.Context) (string, error) {
	root, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", "github.com/lintel-dev/lintel")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(string(root), "bench", p.module)
	key, err := p.key(ctx, dir)
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, p.name+"-"+key)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "bench: building %s; this takes minutes the first time\n", p.name)
	aside := fmt.Sprintf("%s.%d", path, os.Getpid())
	if _, err := goCommand(ctx, dir, "build", "-trimpath", "-ldflags", "-s -w", "-o", aside, p.importPath); err != nil {
		return "", err
	}
	if err := os.Rename(aside, path); err != nil {
		return "", fmt.Errorf("move program: %w", err)
	}
	return path, nil
}

// key is a short hash of what the program is made from.
func (p goProgram) key(ctx context.Context, dir string) (string, error) {
	version, err := goCommand(ctx, dir, "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s %s\n", version, runtime.GOOS, runtime.GOARCH, p.importPath)
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", fmt.Errorf("read module: %w", err)
		}
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// goCommand runs the go command in a folder. Settings meant for Lintel's own build
// don't reach it.
func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOTOOLCHAIN=auto", "GOFLAGS=-buildvcs=false", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		const most = 500
		said := bytes.TrimSpace(stderr.Bytes())
		return nil, fmt.Errorf("go %s: %w: %s", args[0], err, said[max(0, len(said)-most):])
	}
	return bytes.TrimSpace(out), nil
}
