package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// describe writes what figures depend on: the machine, and who was compared.
func describe(ctx context.Context, out io.Writer, peers []installed) {
	var name unix.Utsname
	kernel := "unknown kernel"
	if err := unix.Uname(&name); err == nil {
		kernel = "Linux " + unix.ByteSliceToString(name.Release[:])
	}
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo") // without it, the model is unknown
	fmt.Fprintf(out, "machine %s, %d cores, %s, %s\n", cpuModel(cpuinfo), runtime.NumCPU(), kernel, time.Now().UTC().Format(time.DateOnly))
	for _, p := range peers {
		fmt.Fprintf(out, "version %s %s\n", p.Name(), p.Version(ctx, p.program))
	}
}

// cpuModel reads the name of the first core from /proc/cpuinfo.
func cpuModel(cpuinfo []byte) string {
	for line := range bytes.Lines(cpuinfo) {
		key, value, ok := bytes.Cut(line, []byte(":"))
		if ok && string(bytes.TrimSpace(key)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return "unknown CPU"
}

// saidVersion returns the first line of what a program prints of its version.
func saidVersion(ctx context.Context, program, argument string) string {
	out, err := exec.CommandContext(ctx, program, argument).CombinedOutput() // nginx uses standard error
	if err != nil {
		return "unknown: " + oneLine(err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// builtVersion returns the version of the module that a Go program's main package
// comes from.
func builtVersion(program, importPath string) string {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "unknown: " + oneLine(err)
	}
	for _, module := range append(info.Deps, &info.Main) {
		if strings.HasPrefix(importPath, module.Path+"/") {
			return module.Version + ", " + info.GoVersion
		}
	}
	return "unknown"
}
