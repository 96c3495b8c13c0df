package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	kuberest "k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
	"github.com/lintel-dev/lintel/kube"
	"github.com/lintel-dev/lintel/manifest"
	"github.com/lintel-dev/lintel/observe"
)

// planTimeout is for reading all objects and all zones.
const planTimeout = 2 * time.Minute

func newDNSCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "dns", Short: "Look at DNS records", Args: cobra.NoArgs}
	reader := newSettingsReader()
	plan := &cobra.Command{
		Use:   "plan",
		Short: "Say which DNS records would change, and change nothing; exit 2 if any would",
		Long: `Compare the DNS records for what the objects of a cluster, or of a folder of
manifests (--manifests), say with those that there are, and print what lintel run with the same
settings would do: a line for each record, with + for what would be created, ~ for what would be
changed, - for what would be deleted, ! for deletions that would wait to be released, and ? for
records that are wanted and can't be made, with the reason. Addresses of pools that no Gateway
has yet are not known. The exit code is 0 if nothing would change, 2 if something would, and 1
if that can't be said.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := reader.Read(os.Environ())
			if err != nil {
				return err
			}
			return dnsPlan(cmd.Context(), &settings, dnsPlanOptions{Out: cmd.OutOrStdout(), Log: newLog(os.Stderr, settings)})
		},
	}
	plan.Flags().AddFlagSet(reader.Flags())
	cmd.AddCommand(plan)
	return cmd
}

// dnsPlanOptions are what is around dnsPlan.
type dnsPlanOptions struct {
	Out    io.Writer
	Log    *slog.Logger
	Client *http.Client // that speaks to Cloudflare; nil is the usual one
}

// dnsPlan prints what would change, and returns errDiffers if anything would.
func dnsPlan(ctx context.Context, s *Settings, o dnsPlanOptions) error {
	if s.DNS.Provider == "" {
		return fmt.Errorf("dns-provider is not set: there are no DNS records to keep")
	}
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	objects, read, err := readOnce(ctx, s, o.Log)
	if err != nil {
		return err
	}
	snapshot := objects.Snapshot()
	snapshot.Settings = gatewaySettings(s)
	care, err := newDNSCare(&process{settings: *s, log: o.Log, metrics: observe.NewMetrics(observe.Build{})}, read, o.Client)
	if err != nil {
		return err
	}
	care.slices = objects.EndpointSlices
	care.observe(snapshot)
	want, _ := care.wanted(gateway.Build(snapshot, &gateway.Memo{}))
	plan, err := care.reconciler.Plan(ctx, want.records)
	if plan != nil && (err == nil || !plan.Empty()) {
		if err := plan.Print(o.Out); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if !plan.Empty() || len(plan.Held) > 0 {
		return errDiffers
	}
	return nil
}

// readOnce reads all objects once, and says how credentials are read.
func readOnce(ctx context.Context, s *Settings, log *slog.Logger) (source, credentialReader, error) {
	if s.Manifests != "" {
		objects := manifest.New(s.Manifests)
		if err := objects.Load(); err != nil {
			return nil, nil, err
		}
		return objects, localCredentials(noSecrets), nil
	}
	config, err := kube.Client(s.Kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	store, err := kube.NewStore(kube.StoreOptions{Config: config, Namespaces: s.WatchNamespaces, DNSEndpoints: s.DNS.reads(dnsapi.KindDNSEndpoint), Log: log})
	if err != nil {
		return nil, nil, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = store.Run(running) // that it was stopped is no error
	}()
	_, err = store.Wait(ctx)
	stop()
	<-ended
	if err != nil {
		return nil, nil, fmt.Errorf("read objects: %w", err)
	}
	read, err := clusterCredentials(s, config, log)
	return store, read, err
}

// clusterCredentials reads credentials from Secrets, too.
func clusterCredentials(s *Settings, config *kuberest.Config, log *slog.Logger) (credentialReader, error) {
	p := &process{settings: *s}
	secrets, err := kube.NewCertificateStorage(kube.CertificateStorageOptions{
		Config: config, Namespace: p.ownNamespace(), Prefix: s.LeaseName, Identity: replicaName(), Log: log,
	})
	if err != nil {
		return nil, err
	}
	return localCredentials(secrets.SecretKey), nil
}
