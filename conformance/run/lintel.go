package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// className is the GatewayClass that the suite uses.
const className = "lintel"

const gatewayClass = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: ` + className + `
spec:
  controllerName: lintel.dev/gateway-controller
`

// Addresses for Gateways. Lintel puts those of pool on the node; nobody ever has
// unusableAddress (TEST-NET-1, RFC 5737).
const (
	pool            = "10.250.0.0/24"
	usableAddress   = "10.250.0.250"
	unusableAddress = "192.0.2.1"
)

// installation is how Lintel came into the cluster.
type installation struct {
	version string
	ended   <-chan error // hears when it ends by itself; nil if nobody looks
	remove  func() error // ends it
	log     string       // file or folder
}

// startLintel brings Lintel in, and returns when its GatewayClass is accepted.
func (c *cluster) startLintel(ctx context.Context, o options) (*installation, error) {
	install := c.installChart
	if o.lintel != "" {
		install = c.startProgram
	}
	if err := errors.Join(c.stopProgram(), c.uninstallChart(ctx)); err != nil { // of an earlier run
		return nil, err
	}
	i, err := install(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := c.awaitClass(ctx, i); err != nil {
		return nil, errors.Join(err, i.remove())
	}
	return i, nil
}

// permissions are the chart's, as a file.
const permissions = "deploy/rbac.yaml"

// tunnelCRD is the chart's, too.
const tunnelCRD = "deploy/chart/files/tunnels.lintel.dev.yaml"

// startProgram starts a program beside the Pods, with its permissions.
func (c *cluster) startProgram(ctx context.Context, o options) (*installation, error) {
	program, err := filepath.Abs(o.lintel)
	if err != nil {
		return nil, fmt.Errorf("find program: %w", err)
	}
	kubeconfig, err := c.serviceAccount(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.kubectl(ctx, gatewayClass, "apply", "--filename=-"); err != nil {
		return nil, err
	}
	if _, err := c.kubectl(ctx, "", "apply", "--filename="+tunnelCRD); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(c.output, "lintel.log"))
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	defer log.Close()
	// The shell writes the process id as it is in the machine, and then is Lintel.
	cmd := c.command(context.WithoutCancel(ctx), append([]string{
		"/bin/sh", "-c", `echo $$ >"$0" && exec "$@"`, c.pidFile(),
		program, "run", "--kubeconfig", kubeconfig, "--node-name", c.node.Name,
	}, strings.Fields(o.flags)...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start Lintel: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return &installation{
		version: version(ctx, program), ended: ended, log: log.Name(),
		remove: func() error { return c.removeProgram(context.WithoutCancel(ctx)) },
	}, nil
}

func (c *cluster) pidFile() string { return filepath.Join(c.node.Dir, "lintel.pid") }

// awaitClass returns when the GatewayClass is accepted.
func (c *cluster) awaitClass(ctx context.Context, i *installation) error {
	accepted := make(chan error, 1)
	go func() {
		_, err := c.kubectl(ctx, "", "wait", "--for=condition=Accepted", "--timeout=60s", "gatewayclass/"+className)
		accepted <- err
	}()
	select {
	case err := <-accepted:
		if err != nil {
			return fmt.Errorf("wait for Lintel: %w; see %s", err, i.log)
		}
		return nil
	case err := <-i.ended:
		return fmt.Errorf("lintel ended (%w); see %s", err, i.log)
	}
}

// removeProgram ends it and removes the objects made for it: the chart's have the same
// names.
func (c *cluster) removeProgram(ctx context.Context) error {
	err := c.stopProgram()
	_, fromFile := c.kubectl(ctx, "", "delete", "--ignore-not-found", "--filename="+permissions)
	_, class := c.kubectl(ctx, "", "delete", "--ignore-not-found", "gatewayclass/"+className)
	return errors.Join(err, fromFile, class)
}

// stopProgram ends a Lintel that runs beside the Pods; none is no error.
func (c *cluster) stopProgram() error {
	const script = `pid=$(cat "$0" 2>/dev/null) || exit 0
kill "$pid" 2>/dev/null || exit 0
for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || exit 0; sleep 0.1; done
kill -9 "$pid"`
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := c.command(ctx, "/bin/sh", "-c", script, c.pidFile()).CombinedOutput(); err != nil {
		return fmt.Errorf("end Lintel: %w: %s", err, out)
	}
	return nil
}

// serviceAccount makes the ServiceAccount that Lintel runs as in a cluster, and
// returns the path of a kubeconfig for it.
func (c *cluster) serviceAccount(ctx context.Context) (string, error) {
	if _, err := c.kubectl(ctx, "", "apply", "--filename="+permissions); err != nil {
		return "", err
	}
	token, err := c.kubectl(ctx, "", "create", "token", "lintel", "--namespace=lintel", "--duration=24h")
	if err != nil {
		return "", err
	}
	config, err := clientcmd.LoadFromFile(c.node.Kubeconfig())
	if err != nil {
		return "", fmt.Errorf("read kubeconfig: %w", err)
	}
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: strings.TrimSpace(token)}
	}
	for _, context := range config.Contexts {
		context.Namespace = "lintel"
	}
	path := filepath.Join(c.node.Dir, "lintel.kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return path, nil
}

// version is what the program says that it is.
func version(ctx context.Context, program string) string {
	out, err := exec.CommandContext(ctx, program, "version").Output()
	words := strings.Fields(string(out)) // "lintel VERSION …"
	if err != nil || len(words) < 2 {
		return "unknown"
	}
	return words[1]
}
