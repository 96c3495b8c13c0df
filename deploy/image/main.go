// Command image makes Lintel's container image, without a container engine:
//
//	go run ./deploy/image -o lintel.tar                       for linux/amd64 and linux/arm64
//	go run ./deploy/image -platform linux/amd64 -name registry.example/lintel:1 -o lintel.tar
//	go run ./deploy/image -platform linux/amd64 -root folder  its files alone, for a Dockerfile
//
// The tar file is read by `ctr -n k8s.io images import`, `podman load`, `docker load`
// and `skopeo copy oci-archive:lintel.tar docker://…`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/lintel-dev/lintel/deploy/oci"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	output := flags.String("o", "", "`file` to write the image to")
	root := flags.String("root", "", "`folder` to write the files of the image to, instead of an image")
	name := flags.String("name", "ghcr.io/lintel-dev/lintel:latest", "comma-separated `names` of the image, with tags")
	platform := flags.String("platform", "linux/amd64,linux/arm64", "comma-separated `platforms`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var platforms []oci.Platform
	for p := range strings.SplitSeq(*platform, ",") {
		system, architecture, found := strings.Cut(p, "/")
		if !found || system != "linux" {
			return fmt.Errorf("-platform: %s must be linux/amd64, linux/arm64 or another linux/…", p)
		}
		platforms = append(platforms, oci.Platform{OS: system, Architecture: architecture})
	}
	switch {
	case (*output == "") == (*root == ""):
		return errors.New("choose one of -o and -root")
	case *root != "" && len(platforms) > 1:
		return errors.New("-root writes the files of one platform: choose it with -platform")
	case *root != "":
		return writeRoot(ctx, *root, platforms[0])
	}
	return writeArchive(ctx, archiveOptions{Output: *output, Names: strings.Split(*name, ","), Platforms: platforms})
}

type archiveOptions struct {
	Output    string
	Names     []string
	Platforms []oci.Platform
}

func writeArchive(ctx context.Context, o archiveOptions) error {
	source, err := readSource(ctx)
	if err != nil {
		return err
	}
	archive := oci.Archive{Names: o.Names, Created: source.date}
	for _, p := range o.Platforms {
		files, err := files(ctx, p)
		if err != nil {
			return err
		}
		archive.Images = append(archive.Images, image(p, files, source))
	}
	aside := o.Output + ".new"
	file, err := os.Create(aside)
	if err != nil {
		return fmt.Errorf("create image: %w", err)
	}
	err = errors.Join(archive.Write(file), file.Close())
	if err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	return os.Rename(aside, o.Output)
}

// source is the commit that an image is made from.
type source struct {
	commit string // "" outside of a repository
	date   time.Time
}

func readSource(ctx context.Context) (source, error) {
	out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%H %ct").Output()
	if err != nil { // a source archive
		return source{date: time.Unix(0, 0)}, nil
	}
	var s source
	var seconds int64
	if _, err := fmt.Sscan(string(out), &s.commit, &seconds); err != nil {
		return s, fmt.Errorf("read commit: %w", err)
	}
	s.date = time.Unix(seconds, 0)
	return s, nil
}
