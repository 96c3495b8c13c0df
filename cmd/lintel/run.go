package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/dnsapi"
	"github.com/lintel-dev/lintel/kube"
	"github.com/lintel-dev/lintel/manifest"
	"github.com/lintel-dev/lintel/router"
)

func newRunCommand(left *job) *cobra.Command {
	reader := newSettingsReader()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve what Gateway API and Ingress objects say",
		Long: `Serve what the Gateway API and Ingress objects of a cluster, or of a folder of
manifests (--manifests), say, and follow their changes. SIGTERM, SIGHUP and Ctrl-C drain:
exchanges in flight are finished, then the exit code is 0. With --share-sockets=on SIGUSR2
starts the program that is at the same path by then, and drains when that one serves.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			settings, err := reader.Read(os.Environ())
			if err != nil {
				return err
			}
			*left = func(ctx context.Context) error {
				log := newLog(os.Stderr, settings)
				adoptLibraryLogs(log)
				return run(ctx, settings, log)
			}
			return nil
		},
	}
	cmd.Flags().AddFlagSet(reader.Flags())
	return cmd
}

// run is the composition root: it serves until ctx ends, and returns when
// everything has drained.
func run(ctx context.Context, s Settings, log *slog.Logger) error {
	// An event loop on every core, each with a processor of the scheduler that it keeps
	// while it waits, and as many for everything else.
	runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	if err := raiseCapabilities(); err != nil {
		log.Warn("going on without the capabilities of the program's file", "error", err)
	}
	return newProcess(s, log).serve(ctx)
}

// serve chooses the parts, and runs them.
func (p *process) serve(ctx context.Context) error {
	p.loop.tunnels.useClient(p.dnsClient)
	if err := p.chooseSource(); err != nil {
		return err
	}
	p.loop.source = wakingSource{source: p.loop.source, wake: p.loop.care.changes}
	p.loop.source = wakingSource{source: p.loop.source, wake: p.loop.tunnels.changes}
	p.loop.names = newNames(p.loop.source)
	if err := p.announceAddresses(); err != nil {
		return err
	}
	p.balanceSockets()
	p.answerLocalDNS()
	if err := p.openAdmin(); err != nil {
		return err
	}
	if err := p.recordFlows(); err != nil {
		return err
	}
	p.tellReady()
	return p.run(ctx)
}

// openAdmin opens what operators and the kubelet ask.
func (p *process) openAdmin() error {
	certificates, tunnels := certificateReport(), tunnelReport()
	o := adminOptions{Readiness: p.loop.readiness, Metrics: p.metrics.Handler(), Log: p.log, Reports: map[string]http.Handler{
		certificates.path: certificates.serve(p.loop.care.reported),
		tunnels.path:      tunnels.serve(p.loop.tunnels.report),
		observePath:       &recordStream{stream: p.records, names: p.loop.names},
	}}
	if path := p.settings.AdminSocket; path != "" {
		o.Network, o.Address = "unix", path
		admin, err := newAdmin(o)
		if err != nil {
			return err
		}
		p.late = append(p.late, admin.Run)
	}
	if p.settings.AdminAddress == "" {
		return nil
	}
	o.Network, o.Address = "tcp", p.settings.AdminAddress
	if p.settings.ShareSockets {
		p.early = append(p.early, o.runInTurn)
		return nil
	}
	admin, err := newAdmin(o)
	if err != nil {
		return err
	}
	p.late = append(p.late, admin.Run)
	return nil
}

// chooseSource connects the loop to the manifests or to the API server.
func (p *process) chooseSource() error {
	if p.settings.Manifests != "" {
		p.useManifests()
		if err := p.useDirectory(); err != nil {
			return err
		}
		parts, err := p.keepDNS(localCredentials(noSecrets))
		p.early = append(append(p.early, parts...), p.loop.tunnels.writers()...)
		return err
	}
	return p.useCluster()
}

func (p *process) useManifests() {
	source := manifest.New(p.settings.Manifests)
	p.early = append(p.early, source.Run)
	p.loop.source = source
	p.loop.problems.manifests = source
	p.log.Info("reading objects from manifests", "path", p.settings.Manifests)
}

func (p *process) useCluster() error {
	config, err := kube.Client(p.settings.Kubeconfig)
	if err != nil {
		return err
	}
	store, err := kube.NewStore(kube.StoreOptions{
		Config: config, Namespaces: p.settings.WatchNamespaces, Log: p.log,
		DNSEndpoints: p.settings.DNS.Provider != "" && p.settings.DNS.reads(dnsapi.KindDNSEndpoint),
	})
	if err != nil {
		return err
	}
	writer, err := kube.NewStatusWriter(kube.StatusWriterOptions{Config: config, Store: store, ControllerName: p.settings.ControllerName, Log: p.log})
	if err != nil {
		return err
	}
	infrastructure, err := kube.NewInfrastructureWriter(kube.InfrastructureWriterOptions{Config: config, Store: store, Log: p.log})
	if err != nil {
		return err
	}
	p.early = append(p.early, store.Run)
	p.loop.source, p.loop.writeStatus, p.loop.writeInfrastructure = wakingSource{store, infrastructure.Changes()}, writer.Apply, infrastructure.Apply
	p.loop.conflicts, p.loop.followSecrets = infrastructure.Conflicts, store.FollowSecrets
	p.log.Info("reading objects from the API server", "host", config.Host)
	events, err := kube.NewEventWriter(config, store)
	if err != nil {
		return err
	}
	p.loop.tunnels.event = events.Write
	if err := p.keepTunnelTokens(config); err != nil {
		return err
	}
	parts := append([]func(context.Context) error{writer.Run, infrastructure.Run, events.Run}, p.loop.tunnels.writers()...)
	if len(p.settings.ACMEIssuers) > 0 {
		care, err := p.useSecrets(config, events)
		if err != nil {
			return err
		}
		parts = append(parts, care...)
	}
	dns, err := p.keepDNSByCluster(config, events)
	if err != nil {
		return err
	}
	return p.writers(config, append(parts, dns...)...)
}

// gatewaySettings are those that change what is built.
func gatewaySettings(s *Settings) gateway.Settings {
	return gateway.Settings{
		ControllerName:         s.ControllerName,
		IngressControllerName:  s.IngressControllerName,
		GatewayClasses:         s.GatewayClasses,
		IngressClasses:         s.IngressClasses,
		HTTPPort:               s.HTTPPort,
		HTTPSPort:              s.HTTPSPort,
		Addresses:              s.PublishAddresses,
		PublishService:         namespacedName(s.PublishService),
		AddressPools:           s.AddressPools,
		NodeName:               s.NodeName,
		Issuers:                gatewayIssuers(s),
		DefaultIssuer:          s.DefaultIssuer,
		CertManagerAnnotations: s.CertManagerAnnotations,
		GatewayServices:        s.GatewayServices,
		CollectNames:           s.DNS.Provider != "" || s.Responder.enabled(),
		Backends: router.BackendSettings{
			Outlier:   router.Outlier{Errors: s.OutlierErrors},
			SlowStart: s.SlowStart,
			Circuit: router.Circuit{
				MaxRequests:    s.MaxRequestsPerBackend,
				MaxPending:     s.MaxPendingPerBackend,
				MaxConnections: s.MaxConnectionsPerEndpoint,
			},
		},
	}
}

// gatewayIssuers are the issuers, as far as they change what is built.
func gatewayIssuers(s *Settings) []gateway.Issuer {
	var issuers []gateway.Issuer
	for i := range s.ACMEIssuers {
		issuers = append(issuers, gateway.Issuer{Name: s.ACMEIssuers[i].Name, Challenge: challengeOf(s.ACMEIssuers[i].Solver)})
	}
	return issuers
}

// namespacedName takes "namespace/name" apart; "" is none.
func namespacedName(s string) types.NamespacedName {
	namespace, name, _ := strings.Cut(s, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}
