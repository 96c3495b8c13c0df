package kube

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	corev1 "k8s.io/api/core/v1"
)

// SaveData makes data all that a Secret has, and creates it if there is none. One that is not
// ours is ErrForeignSecret.
func (s *CertificateStorage) SaveData(ctx context.Context, name types.NamespacedName, data map[string]string) error {
	return s.write(ctx, name, func(secret *corev1.Secret) error {
		if secret.UID != "" && !isOurs(secret) {
			return ErrForeignSecret
		}
		secret.Data = make(map[string][]byte, len(data))
		for key, value := range data {
			secret.Data[key] = []byte(value)
		}
		return nil
	})
}
