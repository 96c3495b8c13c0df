package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"os"

	kuberest "k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/kube"
)

// writers are the parts that write to the API server. Of several replicas one runs
// them.
func (p *process) writers(config *kuberest.Config, parts ...func(context.Context) error) error {
	if !p.settings.LeaderElection {
		p.early = append(p.early, parts...)
		return nil
	}
	leader, err := kube.NewLeader(kube.LeaderOptions{
		Config:    config,
		Namespace: p.ownNamespace(),
		Name:      p.settings.LeaseName,
		Identity:  replicaName(),
		Log:       p.log,
	})
	if err != nil {
		return err
	}
	p.early = append(p.early, func(ctx context.Context) error { return leader.Run(ctx, parts...) })
	return nil
}

// ownNamespace is where the replicas keep what they share.
func (p *process) ownNamespace() string {
	return cmp.Or(p.settings.LeaseNamespace, kube.Namespace(p.settings.Kubeconfig))
}

// replicaName tells this process from every other one, and from itself before a
// restart, as a container of the same Pod is one.
func replicaName() string {
	name := os.Getenv("POD_NAME")
	if name == "" {
		name, _ = os.Hostname()
	}
	return name + "_" + rand.Text()[:8]
}
