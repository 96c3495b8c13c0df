package kube

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/lintel-dev/lintel/gateway"
)

// challengeLifetime is when a challenge that nobody withdrew is forgotten: whoever presented
// it is gone, and CAs forget theirs within a week at most, mostly within an hour.
const challengeLifetime = 24 * time.Hour

// Challenge is a question that a CA may ask of any replica.
type Challenge struct {
	Type             string `json:"type"` // "http-01" or "tls-alpn-01"
	Identifier       string `json:"identifier"`
	Token            string `json:"token"`
	KeyAuthorization string `json:"keyAuthorization"`
}

// presentedChallenge is an entry of the ConfigMap.
type presentedChallenge struct {
	Challenge
	Presented time.Time `json:"presented"`
}

// key is that of the challenge in the ConfigMap.
func (c Challenge) key() string {
	sum := sha256.Sum256([]byte(c.Type + " " + c.Identifier + " " + c.Token))
	return hex.EncodeToString(sum[:])
}

func (s *CertificateStorage) challengesName() string { return s.prefix + "-acme-challenges" }

// Present makes all replicas answer a challenge, soon after it returns.
func (s *CertificateStorage) Present(ctx context.Context, c Challenge) error {
	entry, err := json.Marshal(presentedChallenge{c, time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encode challenge: %w", err)
	}
	return wrap("present challenge", s.changeChallenges(ctx, func(data map[string]string) { data[c.key()] = string(entry) }))
}

// Withdraw ends that. It is no error when the challenge is not there.
func (s *CertificateStorage) Withdraw(ctx context.Context, c Challenge) error {
	return wrap("withdraw challenge", s.changeChallenges(ctx, func(data map[string]string) { delete(data, c.key()) }))
}

func (s *CertificateStorage) changeChallenges(ctx context.Context, change func(map[string]string)) error {
	ctx, cancel := context.WithTimeout(ctx, storageRequest)
	defer cancel()
	api := s.client.CoreV1().ConfigMaps(s.namespace)
	return onConflict(ctx, func() error {
		object, err := api.Get(ctx, s.challengesName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			object = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
				Name: s.challengesName(), Labels: map[string]string{gateway.LabelManagedBy: gateway.ManagedByLintel},
			}}
		} else if err != nil {
			return err
		}
		data := make(map[string]string)
		for _, c := range readChallenges(object) {
			data[c.key()] = object.Data[c.key()]
		}
		change(data)
		object.Data = data
		if object.UID == "" {
			_, err = api.Create(ctx, object, metav1.CreateOptions{FieldManager: fieldManager})
		} else {
			_, err = api.Update(ctx, object, metav1.UpdateOptions{FieldManager: fieldManager})
		}
		return err
	})
}

// readChallenges returns those that are not too old, in an order that does not change.
func readChallenges(object *corev1.ConfigMap) []Challenge {
	var all []Challenge
	for _, text := range object.Data {
		var c presentedChallenge
		if json.Unmarshal([]byte(text), &c) == nil && time.Since(c.Presented) < challengeLifetime {
			all = append(all, c.Challenge)
		}
	}
	slices.SortFunc(all, func(x, y Challenge) int { return cmp.Compare(x.key(), y.key()) })
	return all
}

// Run follows the challenges until ctx ends; the error is one of this program alone. While
// the API server is away the last known ones stay.
func (s *CertificateStorage) Run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithNamespace(s.namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, s.challengesName()).String()
		}))
	informer := factory.Core().V1().ConfigMaps().Informer()
	said := false // used by the informer's goroutine alone
	err := informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if isDenied(err) && !said {
			said = true
			s.log.Warn("challenges not readable: grant get, list and watch on configmaps", "namespace", s.namespace, "name", s.challengesName(), "err", err)
		}
	})
	if err != nil {
		return fmt.Errorf("watch challenges: %w", err)
	}
	tell := func(o any) {
		if object, ok := o.(*corev1.ConfigMap); ok {
			s.challenges(readChallenges(object))
		}
	}
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: tell, UpdateFunc: func(_, is any) { tell(is) }, DeleteFunc: func(any) { s.challenges(nil) },
	})
	if err != nil {
		return fmt.Errorf("watch challenges: %w", err)
	}
	informer.RunWithContext(ctx)
	return nil
}

// SecretKey returns a function that reads one key of a Secret in the namespace of Lintel
// from the API server each time that it is called, so that a new value is seen.
func (s *CertificateStorage) SecretKey(name, key string) func() (string, error) {
	where := types.NamespacedName{Namespace: s.namespace, Name: name}
	return func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), storageRequest)
		defer cancel()
		secret, err := s.client.CoreV1().Secrets(where.Namespace).Get(ctx, where.Name, metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("read Secret %s: %w", where, err)
		}
		value := secret.Data[key]
		if len(value) == 0 {
			return "", fmt.Errorf("the Secret %s has nothing under the key %q", where, key)
		}
		return string(value), nil
	}
}
