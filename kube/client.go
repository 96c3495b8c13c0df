package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/homedir"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned/typed/apis/v1"
	experimentalclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned/typed/apisx/v1alpha1"

	"github.com/lintel-dev/lintel/gateway/dnsapi"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
)

// The client's own request limits: room for thousands of status writes within seconds
// after a start, while the API server's priority and fairness stays the real limit.
const (
	clientQPS   = 500 // requests a second
	clientBurst = 1000
)

// Client returns how to reach the API server. kubeconfig is the path of a file;
// "" tries $KUBECONFIG, then the service account of the Pod that this process runs
// in, then ~/.kube/config. The error says what was tried.
func Client(kubeconfig string) (*rest.Config, error) {
	config, err := load(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "lintel/" + version()
	config.QPS, config.Burst = clientQPS, clientBurst
	config.WarningHandler = rest.NoWarnings{} // they speak to people who write manifests
	return config, nil
}

func load(kubeconfig string) (*rest.Config, error) {
	if kubeconfig != "" {
		return loadFile(&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}, "--kubeconfig "+kubeconfig)
	}
	if env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); env != "" {
		return loadFile(&clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(env)}, "KUBECONFIG="+env)
	}
	config, err := rest.InClusterConfig()
	if err == nil || !errors.Is(err, rest.ErrNotInCluster) {
		return config, wrap("read service account", err)
	}
	home := filepath.Join(homedir.HomeDir(), clientcmd.RecommendedHomeDir, clientcmd.RecommendedFileName)
	if _, err := os.Stat(home); err != nil {
		return nil, fmt.Errorf("find API server: no --kubeconfig, no $KUBECONFIG, not in a Pod (no service account), no file %s", home)
	}
	return loadFile(&clientcmd.ClientConfigLoadingRules{ExplicitPath: home}, home)
}

func loadFile(rules *clientcmd.ClientConfigLoadingRules, origin string) (*rest.Config, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	return config, wrap("load kubeconfig "+origin, err)
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// clients are the typed clients of one API server. They share their connections.
type clients struct {
	kubernetes kubernetes.Interface
	gateway    gatewayclient.GatewayV1Interface
	metadata   metadata.Interface
	dns        groupClient // ExternalDNS's
	lintel     groupClient // our own
	// experimental is of the group that is in the experimental channel alone.
	experimental experimentalclient.ExperimentalV1alpha1Interface
}

func newClients(config *rest.Config) (clients, error) {
	http, err := rest.HTTPClientFor(config)
	if err != nil {
		return clients{}, fmt.Errorf("make HTTP client: %w", err)
	}
	binary := rest.CopyConfig(config)
	binary.ContentType = runtime.ContentTypeProtobuf
	binary.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	var c clients
	if c.kubernetes, err = kubernetes.NewForConfigAndClient(binary, http); err != nil {
		return clients{}, fmt.Errorf("make Kubernetes client: %w", err)
	}
	if c.gateway, err = gatewayclient.NewForConfigAndClient(config, http); err != nil {
		return clients{}, fmt.Errorf("make Gateway API client: %w", err)
	}
	if c.experimental, err = experimentalclient.NewForConfigAndClient(config, http); err != nil {
		return clients{}, fmt.Errorf("make client of the experimental channel: %w", err)
	}
	if c.dns, err = newGroupClient(config, http, apiGroup{dnsapi.GroupVersion(), dnsapi.AddToScheme}); err != nil {
		return clients{}, err
	}
	if c.lintel, err = newGroupClient(config, http, apiGroup{v1alpha1.GroupVersion(), v1alpha1.AddToScheme}); err != nil {
		return clients{}, err
	}
	if c.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(config), http); err != nil {
		return clients{}, fmt.Errorf("make metadata client: %w", err)
	}
	return c, nil
}

// version is that of the main module as the Go command recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
