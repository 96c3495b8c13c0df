package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/types"
	kuberest "k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/kube"
	edgetls "github.com/lintel-dev/lintel/tls"
	"github.com/lintel-dev/lintel/tls/acme"
)

// kubeStorage keeps certificates in Kubernetes.
type kubeStorage struct {
	*kube.CertificateStorage
	board *challengeBoard
}

// Load implements [acme.Storage].
func (s kubeStorage) Load(ctx context.Context, name acme.Name) (*acme.Stored, error) {
	c, err := s.CertificateStorage.Load(ctx, types.NamespacedName(name))
	if c == nil || err != nil {
		return nil, err
	}
	return &acme.Stored{CertPEM: c.CertPEM, KeyPEM: c.KeyPEM, Annotations: c.Annotations, Owned: c.Ours}, nil
}

// Save implements [acme.Storage].
func (s kubeStorage) Save(ctx context.Context, name acme.Name, stored *acme.Stored) error {
	err := s.CertificateStorage.Save(ctx, types.NamespacedName(name), &kube.StoredCertificate{
		CertPEM: stored.CertPEM, KeyPEM: stored.KeyPEM, Annotations: stored.Annotations,
	})
	if errors.Is(err, kube.ErrForeignSecret) {
		return fmt.Errorf("%w: %w", acme.ErrForeign, err)
	}
	return err
}

// Present implements [acme.Storage]. Other replicas hear of the challenge about when this
// one does.
func (s kubeStorage) Present(ctx context.Context, c acme.Challenge) error {
	if err := s.CertificateStorage.Present(ctx, kube.Challenge(c)); err != nil {
		return err
	}
	return s.board.await(ctx, c)
}

// Withdraw implements [acme.Storage].
func (s kubeStorage) Withdraw(ctx context.Context, c acme.Challenge) error {
	return s.CertificateStorage.Withdraw(ctx, kube.Challenge(c))
}

// challengesOf makes the board show what Kubernetes holds.
func challengesOf(board *challengeBoard) func([]kube.Challenge) {
	return func(all []kube.Challenge) {
		challenges := make([]acme.Challenge, len(all))
		for i, c := range all {
			challenges[i] = acme.Challenge(c)
		}
		board.set(challenges)
	}
}

// useSecrets lets certificates be kept in Secrets, and returns the parts that only one
// replica runs.
func (p *process) useSecrets(config *kuberest.Config, events *kube.EventWriter) ([]func(context.Context) error, error) {
	care := p.loop.care
	storage, err := kube.NewCertificateStorage(kube.CertificateStorageOptions{
		Config: config, Namespace: p.ownNamespace(), Prefix: p.settings.LeaseName, Identity: replicaName(),
		Challenges: challengesOf(care.board), Log: p.log,
	})
	if err != nil {
		return nil, err
	}
	care.event = events.Write
	if err := care.start(&p.settings, kubeStorage{storage, care.board}, localCredentials(storage.SecretKey), p.dnsClient); err != nil {
		return nil, err
	}
	p.early = append(p.early, storage.Run) // every replica answers challenges
	p.shareTickets(storage)
	return []func(context.Context) error{care.Run}, nil
}

// useDirectory lets certificates be kept in a directory.
func (p *process) useDirectory() error {
	if len(p.settings.ACMEIssuers) == 0 {
		return nil
	}
	care := p.loop.care
	directory, err := acme.NewDirectory(p.settings.ACMEStorage, care.board.set)
	if err != nil {
		return fmt.Errorf("%w; acme-storage names another one", err)
	}
	care.directory = directory
	if err := care.start(&p.settings, directoryStorage{directory, care.board}, localCredentials(noSecrets), p.dnsClient); err != nil {
		return err
	}
	p.early = append(p.early, care.Run)
	p.shareTickets(directory)
	return nil
}

// noSecrets is for credentials where there is no Kubernetes.
func noSecrets(name, key string) func() (string, error) {
	return func() (string, error) {
		return "", fmt.Errorf("there is no Secret %s/%s: %w", name, key, os.ErrNotExist)
	}
}

// shareTickets lets replicas, and this one after a restart, go on with each other's TLS
// sessions.
func (p *process) shareTickets(storage edgetls.TicketStorage) {
	tickets := &edgetls.Tickets{Storage: storage, Apply: p.server.SetTicketKeys, Log: p.log}
	p.early = append(p.early, tickets.Run)
}
