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
}

// buildTools compiles them into dir, which takes seconds.
func buildTools(ctx context.Context, dir string) (tools, error) {
	entries, err := nativeSource.ReadDir("native")
	if err != nil {
		return tools{}, fmt.Errorf("list sources: %w", err)
	}
	for _, entry := range entries {
		text, err := nativeSource.ReadFile("native/" + entry.Name())
		if err != nil {
			return tools{}, fmt.Errorf("read source: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, entry.Name()), text, 0o600); err != nil {
			return tools{}, fmt.Errorf("write source: %w", err)
		}
	}
	for name, libraries := range map[string][]string{
		"load": {"-lssl", "-lcrypto", "-lm"}, "slow": nil, "taker": nil, "upstream": {"-lcrypto"}, "upstream_h2": {"-lnghttp2"},
	} {
		cmd := exec.CommandContext(ctx, "gcc", append([]string{"-O2", "-o", name, name + ".c"}, libraries...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return tools{}, fmt.Errorf("compile %s.c (bench/install.sh installs what it needs): %w\n%s", name, err, out)
		}
	}
	return tools{
		load: filepath.Join(dir, "load"), slow: filepath.Join(dir, "slow"), taker: filepath.Join(dir, "taker"),
		upstream: filepath.Join(dir, "upstream"), upstreamH2: filepath.Join(dir, "upstream_h2"),
	}, nil
}
