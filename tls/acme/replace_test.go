package acme_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/lintel-dev/lintel/tls/acme"
)

// Who reads a certificate that another process replaces finds one, and sees that it is Lintel's.
func TestLoadWhileItIsReplaced(t *testing.T) {
	t.Parallel()
	const times = 1000
	path := t.TempDir()
	storage, name := directory(t, path), acme.Name{Namespace: "a", Name: "b"}
	if err := storage.Save(t.Context(), name, &acme.Stored{CertPEM: []byte("c"), KeyPEM: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	replaced := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < times && err == nil; i++ {
			err = replace(filepath.Join(path, "a", "b"), fmt.Sprint(".b.", i))
		}
		replaced <- err
	}()
	for {
		if stored, err := storage.Load(t.Context(), name); !t.Failed() && (err != nil || stored == nil || !stored.Owned) {
			t.Errorf("there is %+v, %v", stored, err)
		}
		select {
		case err := <-replaced:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}

// replace does as Save does, but that it does not wait for the disk.
func replace(place, next string) error {
	before, err := os.Readlink(place)
	if err != nil {
		return err
	}
	namespace := filepath.Dir(place)
	if err := os.Mkdir(filepath.Join(namespace, next), 0o700); err != nil {
		return err
	}
	for file, text := range map[string]string{"tls.crt": "c", "tls.key": "k", "lintel.json": "{}"} {
		if err := os.WriteFile(filepath.Join(namespace, next, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return errors.Join(os.Symlink(next, place+".link"), os.Rename(place+".link", place), os.RemoveAll(filepath.Join(namespace, before)))
}
