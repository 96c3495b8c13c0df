package acme

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Names of files. A certificate NAMESPACE/NAME is a symbolic link to a directory with
// these, so that certificate and key change at one moment.
const (
	certificateFile = "tls.crt"
	keyFile         = "tls.key"
	// annotationsFile also tells that the certificate is ours.
	annotationsFile = "lintel.json"
	// stateFolder holds documents and locks.
	stateFolder = ".acme"
	// lockInterval is how often a lock that another process has is tried.
	lockInterval = 100 * time.Millisecond
)

// Directory is a Storage in a directory of one machine: NAMESPACE/NAME/tls.crt and
// tls.key, readable by their owner alone. A process that dies at any moment leaves
// either what was before or what comes after, and no lock.
type Directory struct {
	path       string
	challenges func([]Challenge)

	mu        sync.Mutex // guards presented
	presented []Challenge
}

// NewDirectory returns a Storage in a directory, which it makes if there is none.
// challenges is called, one call at a time, with all challenges to be answered by
// this process each time they change, and has to return when they are answered.
func NewDirectory(path string, challenges func([]Challenge)) (*Directory, error) {
	for _, folder := range []string{"documents", "locks"} {
		if err := os.MkdirAll(filepath.Join(path, stateFolder, folder), 0o700); err != nil {
			return nil, fmt.Errorf("make directory for certificates: %w", err)
		}
	}
	return &Directory{path: path, challenges: challenges}, nil
}

// place returns where a certificate is, unless its name would lead elsewhere.
func (d *Directory) place(name Name) (string, error) {
	for _, part := range []string{name.Namespace, name.Name} {
		if part == "" || part[0] == '.' || strings.ContainsAny(part, `/\`) {
			return "", fmt.Errorf("%q cannot be the name of a directory", part)
		}
	}
	return filepath.Join(d.path, name.Namespace, name.Name), nil
}

// Load implements Storage.
func (d *Directory) Load(_ context.Context, name Name) (*Stored, error) {
	place, err := d.place(name)
	if err != nil {
		return nil, err
	}
	// The directory behind the link may be replaced while it is looked for or read: once more then.
	for {
		link, _ := os.Readlink(place) // "" is none
		stored, err := readStored(place)
		whole := err == nil && stored != nil && stored.Owned
		if now, _ := os.Readlink(place); now == link || whole {
			return stored, err
		}
	}
}

// readStored returns nil if there is nothing.
func readStored(place string) (*Stored, error) {
	folder, err := filepath.EvalSymlinks(place) // all files are of one
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stored := &Stored{}
	if stored.CertPEM, err = os.ReadFile(filepath.Join(folder, certificateFile)); err != nil {
		return nil, err
	}
	if stored.KeyPEM, err = os.ReadFile(filepath.Join(folder, keyFile)); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(folder, annotationsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return stored, nil
	}
	if err != nil {
		return nil, err
	}
	stored.Owned = true
	return stored, json.Unmarshal(text, &stored.Annotations)
}

// Save implements Storage.
func (d *Directory) Save(ctx context.Context, name Name, stored *Stored) error {
	place, err := d.place(name)
	if err != nil {
		return err
	}
	before, err := d.Load(ctx, name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Lstat(place); err == nil && (before == nil || !before.Owned) {
		return ErrForeign
	}
	annotations, err := json.MarshalIndent(stored.Annotations, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		return err
	}
	folder, err := os.MkdirTemp(filepath.Dir(place), "."+name.Name+".")
	if err != nil {
		return err
	}
	for file, content := range map[string][]byte{certificateFile: stored.CertPEM, keyFile: stored.KeyPEM, annotationsFile: annotations} {
		if err := writeFile(filepath.Join(folder, file), content); err != nil {
			return errors.Join(err, os.RemoveAll(folder))
		}
	}
	if err := errors.Join(syncFolder(folder), relink(place, folder)); err != nil {
		return errors.Join(err, os.RemoveAll(folder))
	}
	return removeOthers(place, folder)
}

// relink makes place a link to folder, beside it, in one step.
func relink(place, folder string) error {
	link := folder + ".link"
	if err := os.Symlink(filepath.Base(folder), link); err != nil {
		return err
	}
	if err := os.Rename(link, place); err != nil {
		return errors.Join(err, os.Remove(link))
	}
	return syncFolder(filepath.Dir(place))
}

// removeOthers removes what place led to before, and what a crash left of it.
func removeOthers(place, folder string) error {
	others, err := filepath.Glob(filepath.Join(filepath.Dir(place), "."+filepath.Base(place)+".*"))
	if err != nil {
		return err
	}
	var failed []error
	for _, other := range others {
		if other != folder {
			failed = append(failed, os.RemoveAll(other))
		}
	}
	return errors.Join(failed...)
}

// writeFile writes a file that only its owner may read, and waits for the disk.
func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Document implements Storage.
func (d *Directory) Document(_ context.Context, key string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(d.path, stateFolder, "documents", key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

// SaveDocument implements Storage.
func (d *Directory) SaveDocument(_ context.Context, key string, document []byte) error {
	place := filepath.Join(d.path, stateFolder, "documents", key)
	if document == nil {
		if err := os.Remove(place); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	// One writer at a time has the lock that the document belongs to.
	if err := writeFile(place+".new", document); err != nil {
		return err
	}
	if err := os.Rename(place+".new", place); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(place))
}

// Lock implements Storage. The kernel gives the lock of a process that died back.
func (d *Directory) Lock(ctx context.Context, key string) (context.Context, func(), error) {
	f, err := os.OpenFile(filepath.Join(d.path, stateFolder, "locks", key), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			held, cancel := context.WithCancel(ctx)
			return held, func() { cancel(); f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, nil, errors.Join(err, f.Close())
		}
		if err := sleep(ctx, lockInterval); err != nil {
			return nil, nil, errors.Join(err, f.Close())
		}
	}
}

// Present implements Storage.
func (d *Directory) Present(_ context.Context, challenge Challenge) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.presented, challenge) {
		d.presented = append(d.presented, challenge)
		d.challenges(slices.Clone(d.presented))
	}
	return nil
}

// Withdraw implements Storage.
func (d *Directory) Withdraw(_ context.Context, challenge Challenge) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.presented, challenge); i >= 0 {
		d.presented = slices.Delete(d.presented, i, i+1)
		d.challenges(slices.Clone(d.presented))
	}
	return nil
}

// Names returns the certificates that are there, ours and others.
func (d *Directory) Names() ([]Name, error) {
	places, err := filepath.Glob(filepath.Join(d.path, "[^.]*", "[^.]*", certificateFile))
	if err != nil {
		return nil, err
	}
	var found []Name
	for _, place := range places {
		folder := filepath.Dir(place)
		found = append(found, Name{Namespace: filepath.Base(filepath.Dir(folder)), Name: filepath.Base(folder)})
	}
	return found, nil
}
