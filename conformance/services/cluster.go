package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/lintel-dev/lintel/conformance/cluster/machine"
	"github.com/lintel-dev/lintel/conformance/cluster/node"
	"github.com/lintel-dev/lintel/deploy/helm"
	"github.com/lintel-dev/lintel/deploy/oci"
)

const (
	lintelImage = "ghcr.io/lintel-dev/lintel:services"
	podImage    = "localhost/services:test"
)

// world is the running cluster.
type world struct {
	node    node.Node
	machine *machine.Machine
	files   string
}

// cluster calls conformance/cluster, a part of which runs in the machine that it starts.
func cluster(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "./conformance/cluster"}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cluster %s: %w", args[0], err)
	}
	return nil
}

func startCluster(ctx context.Context) (*world, error) {
	dir, err := node.RunDir()
	if err != nil {
		return nil, err
	}
	if err := cluster(ctx, "up", "--no-kube-proxy"); err != nil {
		return nil, err
	}
	c := &world{node: node.First(dir), files: filepath.Join(dir, "services")}
	if c.machine, err = machine.Open(dir); err != nil {
		return nil, err
	}
	return c, os.MkdirAll(c.files, 0o700)
}

// command prepares to run something in the machine.
func (c *world) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := c.machine.Command(ctx, args...)
	cmd.Env = append(os.Environ(), c.node.Environment()...)
	return cmd
}

func output(cmd *exec.Cmd, what string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", what, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

func (c *world) kubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := c.command(ctx, append([]string{"kubectl"}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	return output(cmd, "kubectl "+strings.Join(args, " "))
}

// inPod runs a command of this program in the client's Pod.
func (c *world) inPod(ctx context.Context, command string) (string, error) {
	return c.kubectl(ctx, "", "exec", "client", "--", "/services", command)
}

func (c *world) lintel(ctx context.Context, args ...string) (string, error) {
	return c.kubectl(ctx, "", append([]string{"--namespace=lintel", "exec", "daemonset/lintel", "--", "/lintel"}, args...)...)
}

func (c *world) log(ctx context.Context) string {
	out, err := c.kubectl(ctx, "", "--namespace=lintel", "logs", "--selector=app.kubernetes.io/name=lintel", "--tail=50")
	if err != nil {
		return err.Error()
	}
	return out
}

// deploy makes the Pods and their Services, and waits for them.
func (c *world) deploy(ctx context.Context) error {
	if err := c.makeImages(ctx); err != nil {
		return err
	}
	if _, err := c.kubectl(ctx, objects, "apply", "--filename=-"); err != nil {
		return err
	}
	if _, err := c.kubectl(ctx, "", "rollout", "status", "deployment/web", "--timeout=2m"); err != nil {
		return err
	}
	_, err := c.kubectl(ctx, "", "wait", "--for=condition=Ready", "pod/client", "--timeout=1m")
	return err
}

// makeImages gives the node Lintel, and this program, as images.
func (c *world) makeImages(ctx context.Context) error {
	lintel, program, archive := filepath.Join(c.files, "lintel.tar"), filepath.Join(c.files, "services"), filepath.Join(c.files, "services.tar")
	if _, err := output(exec.CommandContext(ctx, "go", "run", "./deploy/image", "-o", lintel, "-platform", "linux/"+runtime.GOARCH, "-name", lintelImage), "make image"); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./conformance/services")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := output(build, "build"); err != nil {
		return err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	image := oci.Archive{Names: []string{podImage}, Created: time.Unix(0, 0), Images: []oci.Image{{
		Platform: oci.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Files:    []oci.File{{Name: "services", Mode: 0o755, Content: content}},
		User:     "65532:65532", Entrypoint: []string{"/services"},
	}}}
	if err := image.Write(file); err != nil {
		return err
	}
	for _, path := range []string{lintel, archive} {
		if _, err := output(c.command(ctx, "ctr", "images", "import", path), "import "+path); err != nil {
			return err
		}
	}
	return nil
}

// install installs the chart as a user does whose node has no kube-proxy.
func (c *world) install(ctx context.Context) error {
	program, err := helm.Build(ctx, slog.Default())
	if err != nil {
		return err
	}
	_, tag, _ := strings.Cut(lintelImage, ":")
	cmd := c.command(ctx, program, "install", "lintel", "deploy/chart", "--namespace=lintel", "--create-namespace", "--wait", "--timeout=2m",
		"--set=image.tag="+tag, "--set=settings.socketLb=node",
		"--set=env[0].name=KUBERNETES_SERVICE_HOST", "--set-string=env[0].value="+c.node.Address.Addr().String(),
		"--set=env[1].name=KUBERNETES_SERVICE_PORT", "--set-string=env[1].value=6443")
	for _, folder := range []string{"CACHE", "CONFIG", "DATA"} { // not the user's
		cmd.Env = append(cmd.Env, "HELM_"+folder+"_HOME="+filepath.Join(c.files, "helm", strings.ToLower(folder)))
	}
	_, err = output(cmd, "helm install")
	return err
}

// awaitEndpoints waits until the Service web has so many ready endpoints, and returns
// their Pods, and when that was seen.
func (c *world) awaitEndpoints(ctx context.Context, count int) (pods []string, seen time.Time, err error) {
	const ready = `{range .items[*].endpoints[?(@.conditions.ready==true)]}{.targetRef.name}{"\n"}{end}`
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		out, err := c.kubectl(ctx, "", "get", "endpointslices", "--selector=kubernetes.io/service-name=web", "--output=jsonpath="+ready)
		if err != nil {
			return nil, time.Time{}, err
		}
		if pods = strings.Fields(out); len(pods) == count {
			return pods, time.Now(), nil
		}
	}
	return nil, time.Time{}, errors.New("endpoints do not become fewer")
}
