package main

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed native/*.c native/*.h
var nativeSource embed.FS

// tools are the programs in C that this package brings: what feeds the proxies has
// to be cheaper than they are, or it is measured instead of them.
type tools struct {
	load       string // native/load.c
	slow       string // native/slow.c
	taker      string // native/taker.c
	upstream   string // native/upstream.c
	upstreamH2 string // native/upstream_h2.c
	relay      string // native/relay.c
}

// buildTools compiles them into dir, which takes seconds.
func buildTools(ctx context.Context, dir string) (tools, error) {
	if err := writeSources(dir); err != nil {
		return tools{}, err
	}
	var built tools
	for _, tool := range []struct {
		path      *string
		name      string
		libraries []string
	}{
		{&built.load, "load", []string{"-lssl", "-lcrypto", "-lm"}},
		{&built.slow, "slow", nil},
		{&built.taker, "taker", nil},
		{&built.upstream, "upstream", []string{"-lcrypto"}},
		{&built.upstreamH2, "upstream_h2", []string{"-lnghttp2"}},
		{&built.relay, "relay", nil},
	} {
		path, err := compile(ctx, dir, tool.name, tool.libraries...)
		if err != nil {
			return tools{}, err
		}
		*tool.path = path
	}
	return built, nil
}

// writeSources puts all sources in C into dir.
func writeSources(dir string) error {
	entries, err := nativeSource.ReadDir("native")
	if err != nil {
		return fmt.Errorf("list sources: %w", err)
	}
	for _, entry := range entries {
		text, err := nativeSource.ReadFile("native/" + entry.Name())
		if err != nil {
			return fmt.Errorf("read source: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, entry.Name()), text, 0o600); err != nil {
			return fmt.Errorf("write source: %w", err)
		}
	}
	return nil
}

// compile makes a program of one of the sources in dir, and returns its path.
func compile(ctx context.Context, dir, name string, libraries ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "gcc", append([]string{"-O2", "-o", name, name + ".c"}, libraries...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s.c (bench/install.sh installs what it needs): %w\n%s", name, err, out)
	}
	return filepath.Join(dir, name), nil
}
