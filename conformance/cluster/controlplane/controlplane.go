// Package controlplane runs a real Kubernetes API server for tests: etcd and
// kube-apiserver, by default on loopback addresses, without nodes or controllers.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lintel-dev/lintel/conformance/cluster/binary"
	"github.com/lintel-dev/lintel/conformance/process"
)

const (
	// startTimeout is far more than the 4 s that a start takes, for busy machines.
	startTimeout = 2 * time.Minute
	// startAttempts is for the case that another process takes one of the ports
	// between their choice and their use.
	startAttempts = 3
)

// Options are how to run a ControlPlane.
type Options struct {
	// Dir holds its files, among them "pids" and "kubeconfig", and its processes
	// outlive this one: end them with StopDir. "" makes a temporary folder, and the
	// processes end with this one.
	Dir string
	// Address is where the API server listens, and where Pods and nodes find it: the
	// Service "kubernetes" leads there. The zero value is a free port of 127.0.0.1,
	// and a Service that leads nowhere.
	Address netip.AddrPort
	// Log hears about builds that take long; nil discards.
	Log *slog.Logger
}

// ControlPlane is a running API server.
type ControlPlane struct {
	// Config is that of an administrator.
	Config *rest.Config
	// Kubeconfig is the path of a file that says the same as Config.
	Kubeconfig string

	dir       string
	attach    process.Attachment
	ca        *authority
	server    string             // URL
	processes []*process.Process // in the order in which they were started
}

// Start builds the programs unless they are cached, starts them, and returns when
// the API server is ready. The Gateway API's CRDs are not installed yet.
func Start(ctx context.Context, o Options) (*ControlPlane, error) {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	programs, err := buildPrograms(ctx, log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		c, err := startOnce(ctx, o, programs)
		if err == nil || ctx.Err() != nil || attempt == startAttempts {
			return c, err
		}
	}
}

// Build builds the programs that Start runs unless they are cached, for a caller
// that has no way to the module proxy later. A nil log discards.
func Build(ctx context.Context, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	_, err := buildPrograms(ctx, log)
	return err
}

// programs are the paths of what runs.
type programs struct{ etcd, apiServer string }

func buildPrograms(ctx context.Context, log *slog.Logger) (programs, error) {
	b, err := binary.NewBuilder(ctx, log)
	if err != nil {
		return programs{}, err
	}
	etcd, err := b.Build(ctx, binary.Etcd())
	if err != nil {
		return programs{}, err
	}
	apiServer, err := b.Build(ctx, binary.KubeAPIServer())
	return programs{etcd, apiServer}, err
}

// startOnce leaves nothing behind when it fails.
func startOnce(ctx context.Context, o Options, p programs) (*ControlPlane, error) {
	dir, attach := o.Dir, process.Detached
	if dir == "" {
		temporary, err := os.MkdirTemp("", "lintel-controlplane-")
		if err != nil {
			return nil, fmt.Errorf("make folder: %w", err)
		}
		dir, attach = temporary, process.Attached
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	c := &ControlPlane{dir: dir, attach: attach, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	if err := c.start(ctx, p, o.Address); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *ControlPlane) start(ctx context.Context, p programs, address netip.AddrPort) error {
	ports, err := process.FreePorts(ctx, 3)
	if err != nil {
		return err
	}
	reconciler := "lease"
	if !address.IsValid() {
		address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ports[2])
		reconciler = "none" // an Endpoint may not have a loopback address
	}
	c.server = "https://" + address.String()
	flags, err := c.writeCredentials(address.Addr())
	if err != nil {
		return err
	}
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	if err := c.Run("etcd", p.etcd,
		"--data-dir="+filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn", // the data is thrown away
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer,
	); err != nil {
		return err
	}
	if err := c.Run("kube-apiserver", p.apiServer, append(flags,
		"--etcd-servers="+client, "--bind-address="+address.Addr().String(), "--secure-port="+strconv.Itoa(int(address.Port())),
		"--advertise-address="+address.Addr().String(), "--endpoint-reconciler-type="+reconciler,
		"--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range="+ServiceNetwork,
		"--kubelet-preferred-address-types=InternalIP",
		"--authorization-mode=Node,RBAC", "--allow-privileged=true", "--profiling=false",
		"--feature-gates=ClusterTrustBundle=true", "--runtime-config=certificates.k8s.io/v1beta1=true", // of which BackendTLSPolicies can speak
	)...); err != nil {
		return err
	}
	if err := c.configure(); err != nil {
		return err
	}
	return c.waitReady(ctx)
}

// ServiceNetwork is where Services get their addresses.
const ServiceNetwork = "10.96.0.0/16"

// Run starts a program that ends with the others. Its output goes to NAME.log.
func (c *ControlPlane) Run(name, path string, args ...string) error {
	p, err := process.Start(process.Program{
		Name: name, Path: path, Args: args, Log: filepath.Join(c.dir, name+".log"), Attach: c.attach,
	})
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	if c.attach == process.Detached {
		return writePids(c.dir, c.processes)
	}
	return nil
}

// configure gives the administrator's kubeconfig, and reads it back as Config.
func (c *ControlPlane) configure() error {
	admin, err := c.ca.client("admin", "system:masters")
	if err != nil {
		return err
	}
	if err := c.writeKubeconfig(c.Kubeconfig, admin); err != nil {
		return err
	}
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	c.Config.QPS = -1 // a test waits for nobody
	c.Config.WarningHandler = rest.NoWarnings{}
	return nil
}

// Stop ends the processes and removes their files.
func (c *ControlPlane) Stop() error {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].Stop()
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove files: %w", err)
	}
	return nil
}
