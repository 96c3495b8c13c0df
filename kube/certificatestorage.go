package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/lintel-dev/lintel/gateway"
)

// storageRequest bounds one request of a CertificateStorage.
const storageRequest = 5 * time.Second

// CertificateStorageOptions are what a CertificateStorage needs.
type CertificateStorageOptions struct {
	Config *rest.Config
	// Namespace is where everything but the certificates is kept, and Prefix begins the
	// names of these objects. Replicas share both.
	Namespace, Prefix string
	// Identity tells this replica from all others.
	Identity string
	// Challenges is called with all challenges that are to be answered, when Run has read
	// them and whenever they change. It must not block.
	Challenges func([]Challenge)
	// Log receives what a person should know: nil discards.
	Log *slog.Logger
}

// CertificateStorage keeps certificates in Secrets of type kubernetes.io/tls, documents in
// Secrets of its own namespace, locks in Leases, and challenges in a ConfigMap that every
// replica watches. Its methods may be called from any goroutine.
type CertificateStorage struct {
	client     kubernetes.Interface
	namespace  string
	prefix     string
	identity   string
	challenges func([]Challenge)
	log        *slog.Logger
}

// StoredCertificate is what a Secret holds.
type StoredCertificate struct {
	CertPEM, KeyPEM []byte
	Annotations     map[string]string
	// Ours says that the Secret is labelled as Lintel's. Save does not read it.
	Ours bool
}

// ErrForeignSecret says that a Secret is not labelled as Lintel's, and so is not written.
var ErrForeignSecret = errors.New("the Secret is not labelled " + gateway.LabelManagedBy + "=" + gateway.ManagedByLintel + " and is left as it is: delete it, or label it to hand it over")

// NewCertificateStorage returns a CertificateStorage that knows no challenges until Run.
func NewCertificateStorage(o CertificateStorageOptions) (*CertificateStorage, error) {
	config := rest.CopyConfig(o.Config)
	config.Timeout = 0 // the watch has none; requests get storageRequest
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make Kubernetes client: %w", err)
	}
	s := &CertificateStorage{client: client, namespace: o.Namespace, prefix: o.Prefix, identity: o.Identity, challenges: o.Challenges, log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Load returns the certificate of a Secret, nil without an error when there is no Secret.
// It asks the API server each time.
func (s *CertificateStorage) Load(ctx context.Context, name types.NamespacedName) (*StoredCertificate, error) {
	ctx, cancel := context.WithTimeout(ctx, storageRequest)
	defer cancel()
	secret, err := s.client.CoreV1().Secrets(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	return &StoredCertificate{
		CertPEM: secret.Data[corev1.TLSCertKey], KeyPEM: secret.Data[corev1.TLSPrivateKeyKey],
		Annotations: secret.Annotations, Ours: isOurs(secret),
	}, nil
}

func isOurs(o metav1.Object) bool {
	return o.GetLabels()[gateway.LabelManagedBy] == gateway.ManagedByLintel
}

// Save writes a certificate into a Secret, and makes it if there is none. What others have
// added to the Secret stays. One that is not Lintel's makes an error that wraps
// ErrForeignSecret.
func (s *CertificateStorage) Save(ctx context.Context, name types.NamespacedName, c *StoredCertificate) error {
	return s.write(ctx, name, func(secret *corev1.Secret) error {
		switch {
		case secret.UID == "":
			secret.Type = corev1.SecretTypeTLS
		case !isOurs(secret):
			return ErrForeignSecret
		case secret.Type != corev1.SecretTypeTLS:
			return fmt.Errorf("its type is %q, which cannot change to %q: delete it", secret.Type, corev1.SecretTypeTLS)
		}
		if secret.Annotations == nil {
			secret.Annotations = make(map[string]string, len(c.Annotations))
		}
		maps.Copy(secret.Annotations, c.Annotations)
		secret.Data = maps.Clone(secret.Data)
		if secret.Data == nil {
			secret.Data = make(map[string][]byte)
		}
		secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey] = c.CertPEM, c.KeyPEM
		return nil
	})
}

// write changes a Secret, or a new one, which has no UID, and labels it as ours.
func (s *CertificateStorage) write(ctx context.Context, name types.NamespacedName, change func(*corev1.Secret) error) error {
	ctx, cancel := context.WithTimeout(ctx, storageRequest)
	defer cancel()
	api := s.client.CoreV1().Secrets(name.Namespace)
	err := onConflict(ctx, func() error {
		secret, err := api.Get(ctx, name.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}}
		} else if err != nil {
			return err
		}
		if err := change(secret); err != nil {
			return err
		}
		metav1.SetMetaDataLabel(&secret.ObjectMeta, gateway.LabelManagedBy, gateway.ManagedByLintel)
		if secret.UID == "" {
			_, err = api.Create(ctx, secret, metav1.CreateOptions{FieldManager: fieldManager})
		} else {
			_, err = api.Update(ctx, secret, metav1.UpdateOptions{FieldManager: fieldManager})
		}
		return err
	})
	return wrap("write Secret "+name.String(), err)
}

// onConflict tries again while somebody else is faster, until ctx ends.
func onConflict(ctx context.Context, write func() error) error {
	for {
		err := write()
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) || ctx.Err() != nil {
			return err
		}
	}
}

// documentKey is the key of a document in its Secret.
const documentKey = "document"

func (s *CertificateStorage) documentName(key string) types.NamespacedName {
	return types.NamespacedName{Namespace: s.namespace, Name: s.prefix + "-acme-" + key}
}

// Document returns what SaveDocument kept under a key, which can be part of an object's
// name; nil without an error when there is nothing.
func (s *CertificateStorage) Document(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, storageRequest)
	defer cancel()
	name := s.documentName(key)
	secret, err := s.client.CoreV1().Secrets(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %s: %w", name, err)
	}
	return secret.Data[documentKey], nil
}

// SaveDocument replaces a document; nil deletes it, if there is one.
func (s *CertificateStorage) SaveDocument(ctx context.Context, key string, document []byte) error {
	name := s.documentName(key)
	if document == nil {
		ctx, cancel := context.WithTimeout(ctx, storageRequest)
		defer cancel()
		err := s.client.CoreV1().Secrets(name.Namespace).Delete(ctx, name.Name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return wrap("delete Secret "+name.String(), err)
	}
	return s.write(ctx, name, func(secret *corev1.Secret) error {
		if secret.UID != "" && !isOurs(secret) {
			return ErrForeignSecret
		}
		secret.Data = map[string][]byte{documentKey: document}
		return nil
	})
}
