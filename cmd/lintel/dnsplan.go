package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	kuberest "k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
	"github.com/lintel-dev/lintel/kube"
	"github.com/lintel-dev/lintel/manifest"
	"github.com/lintel-dev/lintel/observe"
	"github.com/lintel-dev/lintel/tunnel"
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
records that are wanted and can't be made, with the reason. Records that lead to tunnels follow,
each Tunnel's by themselves. Addresses of pools that no Gateway has yet are not known. The exit code is 0 if nothing would change, 2 if something would, and 1
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
	if care != nil {
		care.slices = objects.EndpointSlices
		care.observe(snapshot)
	}
	built := gateway.Build(snapshot, &gateway.Memo{})
	p := &recordPrinter{out: o.Out}
	if care != nil {
		want, _ := care.wanted(built)
		p.print(care.reconciler.Plan(ctx, want.records))
	}
	records := newTunnelRecords(&s.DNS, o.Log, func() {})
	records.client, records.read = o.Client, read
	planned := p.printTunnels(ctx, records, built)
	switch {
	case p.err != nil:
		return p.err
	case care == nil && !planned:
		return errors.New("dns-provider is not set, and no Tunnel has a dns.mode: there are no DNS records to keep")
	case p.differs:
		return errDiffers
	}
	return nil
}

// recordPrinter prints Plans of records, until one can't be made.
type recordPrinter struct {
	out     io.Writer
	differs bool // something would change
	err     error
}

func (p *recordPrinter) print(plan *externaldns.Plan, err error) {
	if p.err == nil && plan != nil && (err == nil || !plan.Empty()) {
		p.err = plan.Print(p.out)
	}
	p.err = cmp.Or(p.err, err)
	p.differs = p.differs || plan != nil && (!plan.Empty() || len(plan.Held) > 0)
}

// printTunnels prints what becomes of the records that lead to tunnels, and reports whether
// any Tunnel wants some.
func (p *recordPrinter) printTunnels(ctx context.Context, records *tunnelRecords, built *gateway.Plan) (wanted bool) {
	states := make(map[types.NamespacedName]gateway.TunnelState, len(built.Tunnels))
	for i := range built.Tunnels {
		t := &built.Tunnels[i]
		if c, err := readCredentials(t); err != nil {
			states[t.Name] = gateway.TunnelState{Invalid: err.Error()}
		} else if c != (tunnel.Credentials{}) {
			states[t.Name] = gateway.TunnelState{Hostname: c.Hostname()}
		}
	}
	want := wantRecords(built, states)
	for i := range built.Tunnels {
		t := &built.Tunnels[i]
		if t.DNS.Mode == v1alpha1.TunnelDNSOff || p.err != nil {
			continue
		}
		wanted = true
		fmt.Fprintf(p.out, "Tunnel %s:\n", t.Name)
		w, known := want[t.Name]
		if !known {
			why := cmp.Or(states[t.Name].Invalid, "its credentials are not known, or it is not created yet")
			if t.DNS.Fault != nil {
				why = t.DNS.Fault.Field + ": " + t.DNS.Fault.Message
			}
			fmt.Fprintf(p.out, "?  records can't be planned: %s\n", why)
			continue
		}
		keeper, err := records.newKeeper(t.Name, w)
		if err != nil {
			p.err = err
			continue
		}
		keeper.token.set(w.APIToken)
		keeper.reconciler.Release(w.Release)
		p.print(keeper.reconciler.Plan(ctx, w.records))
	}
	return wanted
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
	if _, err = store.Wait(ctx); err == nil {
		err = readNamedSecrets(ctx, s, store)
	}
	stop()
	<-ended
	if err != nil {
		return nil, nil, fmt.Errorf("read objects: %w", err)
	}
	read, err := clusterCredentials(s, config, log)
	return store, read, err
}

// readNamedSecrets waits for the Secrets that objects name, which a Build tells of.
func readNamedSecrets(ctx context.Context, s *Settings, store *kube.Store) error {
	for {
		snapshot := store.Snapshot()
		snapshot.Settings = gatewaySettings(s)
		plan := gateway.Build(snapshot, &gateway.Memo{})
		if !slices.ContainsFunc(plan.Secrets, func(name types.NamespacedName) bool { return !snapshot.SecretsRead[name] }) {
			return nil
		}
		store.FollowSecrets(plan.Secrets)
		if _, err := store.Wait(ctx); err != nil {
			return err
		}
	}
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
