package bpf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

const (
	defaultPins = "/sys/fs/bpf"
	pinsFolder  = "lintel"
)

// Pins is the folder of one feature on a bpffs: what is pinned in it outlives the process.
// The zero value has no folder.
type Pins struct{ folder string }

// PinsOf returns the folder of a feature, which it makes, on the machine's bpffs: the one
// at /sys/fs/bpf, or the first that is mounted elsewhere. Where there is none, one is
// mounted. Errors wrap ErrUnavailable.
func PinsOf(feature string) (Pins, error) {
	root, found, err := findBPFFS()
	if err != nil {
		return Pins{}, err
	}
	if !found {
		if err := mountFilesystem("bpf", defaultPins); err != nil {
			return Pins{}, Unavailable("bpffs is not mounted, and can't be: %w", err)
		}
		root = defaultPins
	}
	return PinsIn(filepath.Join(root, pinsFolder), feature)
}

// PinsIn returns the folder of a feature below a folder of a bpffs; both are made.
func PinsIn(root, feature string) (Pins, error) {
	folder := filepath.Join(root, feature)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return Pins{}, Unavailable("nothing can be pinned: %w", err)
	}
	if !isFilesystem(folder, magicBPF) {
		return Pins{}, Unavailable("%s is not on a bpffs", folder)
	}
	return Pins{folder}, nil
}

// ExistingPins is PinsOf without making or mounting anything: false says that there are
// none.
func ExistingPins(feature string) (Pins, bool, error) {
	root, found, err := findBPFFS()
	if err != nil || !found {
		return Pins{}, false, err
	}
	folder := filepath.Join(root, pinsFolder, feature)
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return Pins{}, false, nil
	} else if err != nil {
		return Pins{}, false, err
	}
	return Pins{folder}, true, nil
}

// findBPFFS returns where bpffs is mounted.
func findBPFFS() (string, bool, error) {
	mounts, err := readMounts()
	if err != nil {
		return "", false, Unavailable("mounts can't be read: %w", err)
	}
	first := ""
	for _, m := range mounts {
		if m.filesystem != "bpf" || m.root != "/" || !isFilesystem(m.point, magicBPF) {
			continue
		}
		if m.point == defaultPins {
			return m.point, true, nil
		}
		if first == "" {
			first = m.point
		}
	}
	return first, first != "", nil
}

// Folder of the pins, for errors and logs.
func (p Pins) Folder() string { return p.folder }

// Path of a pin.
func (p Pins) Path(name string) string { return filepath.Join(p.folder, name) }

// Names of what is pinned, sorted.
func (p Pins) Names() ([]string, error) {
	entries, err := os.ReadDir(p.folder)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Link opens a pinned link: an error is fs.ErrNotExist if there is none.
func (p Pins) Link(name string) (link.Link, error) {
	return link.LoadPinnedLink(p.Path(name), nil)
}

// Map opens a pinned map: an error is fs.ErrNotExist if there is none.
func (p Pins) Map(name string) (*ebpf.Map, error) {
	return ebpf.LoadPinnedMap(p.Path(name), nil)
}

// Own makes this process the one that changes what is pinned, or returns nil if another
// one is. It is until the returned value is closed, or the process ends. A folder that somebody
// has removed is made again.
func (p Pins) Own() (io.Closer, error) {
	err := os.MkdirAll(p.folder, 0o700)
	var folder *os.File
	if err == nil {
		folder, err = os.Open(p.folder)
	}
	if err != nil {
		return nil, fmt.Errorf("open pins: %w", err)
	}
	owned, err := lock(folder)
	if err != nil {
		err = fmt.Errorf("lock %s: %w", p.folder, err)
	}
	if !owned {
		folder.Close()
		return nil, err
	}
	return folder, nil
}

// Remove detaches every link that is pinned, whoever else holds it, and removes all pins
// and the folder. It goes on past errors, and returns them all. Without a folder it does
// nothing.
func (p Pins) Remove() error {
	names, err := p.Names()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, name := range names {
		if l, err := p.Link(name); err == nil {
			// A link whose cgroup or namespace has gone is detached already.
			if err := l.Detach(); err != nil && !errors.Is(err, ebpf.ErrNotSupported) && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("detach %s: %w", p.Path(name), err))
			}
			_ = l.Close() // it was opened to be detached
		}
		errs = append(errs, os.Remove(p.Path(name)))
	}
	errs = append(errs, os.Remove(p.folder))
	_ = os.Remove(filepath.Dir(p.folder)) // unless other features have theirs in it
	return errors.Join(errs...)
}
