// Package binary builds the programs of a Kubernetes cluster from the Go module
// proxy, once: later calls find them in the user's cache folder.
//
// Each program is a tool of a small Go module of its own (conformance/cluster/kube,
// conformance/cluster/etcd), because k8s.io/kubernetes can only be built with
// replace directives, and because nothing of it may enter Lintel's own go.mod. The
// cache key is made from that module's files, the Go version and the build flags, so
// that a changed version is a changed file name.
package binary

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Builder builds Programs. Several, in as many processes, may share a cache.
type Builder struct {
	source string // the folder conformance/cluster
	cache  string
	log    *slog.Logger
}

// NewBuilder returns a Builder for the Go module that the working directory
// belongs to, which must be Lintel's. It says in log when something takes minutes.
func NewBuilder(ctx context.Context, log *slog.Logger) (*Builder, error) {
	root, err := ModuleDir(ctx, "github.com/lintel-dev/lintel")
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find cache folder: %w", err)
	}
	cache = filepath.Join(cache, "lintel", "cluster")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("make cache folder: %w", err)
	}
	return &Builder{source: filepath.Join(root, "conformance", "cluster"), cache: cache, log: log}, nil
}

// ModuleDir returns the folder of a module of the build list.
func ModuleDir(ctx context.Context, path string) (string, error) {
	out, err := goCommand(ctx, "", "list", "-m", "-f", "{{.Dir}}", path)
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", path, err)
	}
	if out == "" {
		return "", fmt.Errorf("find module %s: not downloaded; run `go mod download`", path)
	}
	return out, nil
}

// Build returns the path of a program, which it builds unless it is cached.
func (b *Builder) Build(ctx context.Context, p Program) (string, error) {
	key, err := b.key(ctx, p)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	path := filepath.Join(b.cache, p.Name+"-"+key)
	if exists(path) {
		return path, nil
	}
	unlock, err := Lock(ctx, filepath.Join(b.cache, p.Name+".lock"), nil)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	defer unlock()
	if exists(path) { // built by whoever held the lock
		return path, nil
	}
	if err := b.compile(ctx, p, path); err != nil {
		return "", fmt.Errorf("build %s: %w", p.Name, err)
	}
	return path, nil
}

// compile leaves nothing at path unless it succeeds.
func (b *Builder) compile(ctx context.Context, p Program, path string) error {
	start := time.Now()
	b.log.Info("building; this takes minutes the first time", "program", p.Name, "log", path+".log")
	log, err := os.Create(path + ".log")
	if err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	defer log.Close()
	aside := path + ".building"
	cmd := exec.CommandContext(ctx, "go", append(append(verb(p), "-o", aside), append(flags(p), p.Package)...)...)
	cmd.Dir, cmd.Env = filepath.Join(b.source, p.Module), environment()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, Tail(path+".log"))
	}
	if err := os.Rename(aside, path); err != nil {
		return fmt.Errorf("move result: %w", err)
	}
	b.log.Info("built", "program", p.Name, "seconds", int(time.Since(start).Seconds()))
	return nil
}

func verb(p Program) []string {
	if p.Test {
		return []string{"test", "-c"}
	}
	return []string{"build"}
}

func flags(p Program) []string {
	flags := []string{"-trimpath", "-ldflags", strings.Join(append([]string{"-s", "-w"}, p.LDFlags...), " ")}
	if len(p.Tags) > 0 {
		flags = append(flags, "-tags", strings.Join(p.Tags, ","))
	}
	return flags
}

// environment keeps settings meant for the project's own build, such as -race or a
// workspace, away from the build of a program.
func environment() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOTOOLCHAIN=auto", "GOFLAGS=-buildvcs=false", "GOWORK=off",
		"GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
}

// key is a short hash of everything that the program is made from.
func (b *Builder) key(ctx context.Context, p Program) (string, error) {
	dir := filepath.Join(b.source, p.Module)
	goVersion, err := goCommand(ctx, dir, "env", "GOVERSION")
	if err != nil {
		return "", fmt.Errorf("read Go version: %w", err)
	}
	h := sha256.New()
	fmt.Fprintln(h, goVersion, runtime.GOOS, runtime.GOARCH, p.Package, flags(p))
	source, err := filepath.Glob(filepath.Join(dir, "*.go")) // most modules have none
	if err != nil {
		return "", fmt.Errorf("list module: %w", err)
	}
	for _, path := range append([]string{filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum")}, source...) {
		content, err := os.ReadFile(path)
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && filepath.Base(path) == "go.sum") {
			return "", fmt.Errorf("read module: %w", err)
		}
		h.Write(content)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, environment()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(bytes.TrimSpace(out)), nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// Tail returns the end of a log file, for an error message.
func Tail(path string) string {
	const lines = 30
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
