package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/observe"
	"github.com/lintel-dev/lintel/proxy"
	edgetls "github.com/lintel-dev/lintel/tls"
)

// process is what runs: some parts until the signal, the rest until the data plane
// has drained.
type process struct {
	settings  Settings
	log       *slog.Logger
	metrics   *observe.Metrics
	accessLog *observe.AccessLog // nil when it is off
	records   *observe.Stream    // likewise
	server    *proxy.Server
	loop      *loop
	dnsClient *http.Client // that speaks to DNS providers; nil is the usual one
	memory    int64        // bytes that we may use; 0 means no limit
	// tunnelsEnd is closed when the edge knows that nothing more may come, and nothing does.
	tunnelsEnd chan struct{}

	early []func(context.Context) error // end with the signal
	late  []func(context.Context) error // end when the data plane has drained
}

func newProcess(s Settings, log *slog.Logger) *process {
	v := thisVersion()
	p := &process{settings: s, log: log, metrics: observe.NewMetrics(observe.Build{Version: v.Version, Commit: v.Commit, GoVersion: v.Go})}
	p.memory = limitMemory(s.MemoryLimit)
	if s.AccessLog {
		p.accessLog = observe.NewAccessLog(observe.AccessLogOptions{Writer: os.Stdout, Sample: s.AccessLogSample, Metrics: p.metrics})
		p.late = append(p.late, p.accessLog.Run)
	}
	p.tunnelsEnd = make(chan struct{})
	if s.ObserveRecords > 0 {
		p.records = observe.NewStream(s.ObserveRecords)
	}
	ready := &readiness{}
	data := p.proxySettings()
	data.HostPorts = p.openHostPorts(ready)
	p.server = proxy.New(data)
	stats := p.server.Stats()
	p.metrics.ObserveConnections(observe.Connections{
		Downstream: stats.Downstream.Load, Upstream: stats.Upstream.Load, UpstreamIdle: stats.UpstreamIdle.Load, Upgraded: stats.Upgraded.Load,
		Refused: stats.Refused.Load, Streams: stats.Streams.Load, Sessions: stats.Sessions.Load, Dropped: stats.Dropped.Load,
		Mirroring: stats.Mirroring.Load, MirrorsCut: stats.MirrorsCut.Load,
		NoAccess: stats.NoAccess.Load,
	})
	store := &edgetls.Store{}
	memory := newFootprint()
	p.early = append(p.early, memory.Run)
	p.loop = &loop{
		built:        memory.built,
		settings:     gatewaySettings(&s),
		server:       p.server,
		certificates: store,
		care:         newCertificateCare(store, p.metrics, log),
		metrics:      p.metrics,
		readiness:    ready,
		problems:     &problemLog{log: log},
		writeStatus:  func([]*gateway.Status) {},

		writeInfrastructure: func([]gateway.Infrastructure) {},
		followSecrets:       func([]types.NamespacedName) {},
		conflicts:           func() map[gateway.ObjectRef]string { return nil },
		log:                 log,
	}
	p.loop.care.standIns = s.SelfSignedUntilReady
	p.loop.tunnels = newTunnelCare(p)
	p.early = append(p.early, p.loop.tunnels.Run)
	return p
}

// run starts every part and waits for all. A part that fails stops the others.
func (p *process) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	lateCtx, endLate := context.WithCancel(context.WithoutCancel(ctx))
	defer endLate()

	for _, part := range p.late {
		group.Go(func() error { return part(lateCtx) })
	}
	group.Go(func() error { return p.awaitUpgrade(ctx, stop) })
	for _, part := range append(p.early, p.loop.Run) {
		group.Go(func() error { return part(ctx) })
	}
	group.Go(func() error {
		defer endLate()
		return p.server.Run(ctx)
	})
	group.Go(func() error {
		<-ctx.Done()
		start := time.Now()
		p.loop.readiness.drain()
		p.log.Info("draining", "at_most", p.settings.DrainTimeout.String())
		<-lateCtx.Done()
		p.log.Info("drained", "took", time.Since(start).Round(time.Millisecond).String())
		return nil
	})
	return group.Wait()
}
