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
	load     string // native/load.c
	upstream string // native/upstream.c
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
	for _, name := range []string{"load", "upstream"} {
		cmd := exec.CommandContext(ctx, "gcc", "-O2", "-o", name, name+".c", "-lssl", "-lcrypto", "-lm")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return tools{}, fmt.Errorf("compile %s.c (gcc, libc6-dev and libssl-dev are needed): %w\n%s", name, err, out)
		}
	}
	return tools{load: filepath.Join(dir, "load"), upstream: filepath.Join(dir, "upstream")}, nil
}
