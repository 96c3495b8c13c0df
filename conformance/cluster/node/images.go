package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/lintel-dev/lintel/deploy/oci"
)

// pauseImage is what every Pod begins with.
const pauseImage = "registry.k8s.io/pause:3.10"

// program is an image that holds one static program.
type program struct {
	name  string // in bin, and in the image
	user  string // UID:GID
	names []string
}

// programImages are what the node has without being told. The conformance suite asks
// for two versions of its backend.
func programImages() []program {
	const echo = "registry.k8s.io/gateway-api/conformance/echo-basic"
	return []program{
		{"pause", "65535:65535", []string{pauseImage}},
		{"echo-basic", "65532:65532", []string{echo + ":v0.1.0", echo + ":v0.2.0"}},
	}
}

// archive writes an image to a file.
func (n Node) archive(p program, path string) error {
	content, err := os.ReadFile(n.bin(p.name))
	if err != nil {
		return fmt.Errorf("make image: %w", err)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make image: %w", err)
	}
	defer f.Close()
	a := oci.Archive{Names: p.names, Created: time.Unix(0, 0), Images: []oci.Image{{
		Platform: oci.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Files: []oci.File{
			{Name: p.name, Mode: 0o755, Content: content},
			{Name: "tmp", Mode: os.ModeDir | os.ModeSticky | 0o777},
		},
		User: p.user, Entrypoint: []string{"/" + p.name},
	}}}
	if err := a.Write(f); err != nil {
		return err
	}
	return f.Close()
}

// importImages waits for containerd.
func (n Node) importImages(ctx context.Context) error {
	for _, p := range programImages() {
		if err := n.archive(p, filepath.Join(n.state(), p.name+".tar")); err != nil {
			return err
		}
	}
	if err := awaitContainerd(ctx); err != nil {
		return err
	}
	for _, p := range programImages() {
		if err := Import(ctx, filepath.Join(n.state(), p.name+".tar")); err != nil {
			return err
		}
	}
	return nil
}

// awaitContainerd waits until containerd takes connections.
func awaitContainerd(ctx context.Context) error {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", containerdSocket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for containerd: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Import gives the node's containerd the images of an archive (`docker save`, or an
// OCI layout). It must be called in the machine.
func Import(ctx context.Context, archive string) error {
	out, err := exec.CommandContext(ctx, "ctr", "images", "import", archive).CombinedOutput()
	if err != nil {
		return fmt.Errorf("import %s: %w: %s", archive, err, out)
	}
	return nil
}
