package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"
	"golang.org/x/sys/unix"

	"github.com/lintel-dev/lintel/deploy/oci"
)

// user runs Lintel: the number that images without users have come to agree on.
const user = "65532"

// capabilities are all that Lintel can use. Which of them it gets is for the Pod to
// say: see deploy/chart.
const capabilities = oci.NetBindService | oci.NetAdmin | oci.NetRaw | oci.BPF

func image(p oci.Platform, files []oci.File, s source) oci.Image {
	labels := map[string]string{
		"org.opencontainers.image.title":    "lintel",
		"org.opencontainers.image.source":   "https://github.com/lintel-dev/lintel",
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	if s.commit != "" {
		labels["org.opencontainers.image.revision"] = s.commit
	}
	return oci.Image{
		Platform: p, Files: files, User: user + ":" + user,
		Entrypoint: []string{"/lintel"}, Cmd: []string{"run"},
		Labels: labels,
	}
}

// files are everything in the image: no shell, no libraries.
func files(ctx context.Context, p oci.Platform) ([]oci.File, error) {
	program, err := build(ctx, p)
	if err != nil {
		return nil, err
	}
	return []oci.File{
		{Name: "lintel", Mode: 0o755, Content: program, Capabilities: capabilities},
		{Name: "etc/passwd", Mode: 0o644, Content: []byte("lintel:x:" + user + ":" + user + ":lintel:/:/sbin/nologin\n")},
		{Name: "etc/group", Mode: 0o644, Content: []byte("lintel:x:" + user + ":\n")},
		{Name: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Content: systemRoots()},
	}, nil
}

// systemRoots are the certificate authorities that Mozilla trusts, for backends
// whose policy says `wellKnownCACertificates: System`. Those that it trusts with
// constraints are left out, because a PEM file can't say them.
func systemRoots() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // memory takes all
		}
	}
	return out.Bytes()
}

func build(ctx context.Context, p oci.Platform) ([]byte, error) {
	folder, err := os.MkdirTemp("", "lintel-image")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	const program = "github.com/lintel-dev/lintel/cmd/lintel"
	source, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", program).Output()
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", program, err)
	}
	path, profile := filepath.Join(folder, "lintel"), filepath.Join(strings.TrimSpace(string(source)), "bench.pgo")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=auto", "-trimpath", "-pgo="+profile, "-ldflags=-s -w", "-o", path, program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Architecture)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build lintel for %s/%s: %w", p.OS, p.Architecture, err)
	}
	return os.ReadFile(path)
}

// writeRoot writes the files of the image into a folder. It needs the right to give
// files capabilities, which root has.
func writeRoot(ctx context.Context, folder string, p oci.Platform) error {
	list, err := files(ctx, p)
	if err != nil {
		return err
	}
	for _, f := range list {
		path := filepath.Join(folder, f.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, f.Content, f.Mode)); err != nil {
			return fmt.Errorf("write files of the image: %w", err)
		}
		if f.Capabilities == 0 {
			continue
		}
		if err := unix.Setxattr(path, oci.CapabilityAttribute, f.Capabilities.Attribute(), 0); err != nil {
			return fmt.Errorf("give %s its capabilities: %w", path, err)
		}
	}
	return nil
}
