package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// file is one manifest file as it was read last. It is immutable.
type file struct {
	path string
	docs []*document
	err  error // why it could not be read; docs are then those of before
	// folder: it is one, which could not be listed.
	folder bool
}

// unread tells whether the file may hold objects that nobody can see now.
func (f *file) unread() bool {
	return f.err != nil || slices.ContainsFunc(f.docs, func(d *document) bool { return d.broken })
}

// problems returns those of the file and of its objects.
func (f *file) problems() []Problem {
	var problems []Problem
	if f.err != nil {
		what := "read file: "
		if f.folder {
			what = "read folder: "
		}
		problems = append(problems, Problem{File: f.path, Message: what + reason(f.err)})
	}
	for _, doc := range f.docs {
		add := func(list []Problem) {
			for _, p := range list {
				p.File = f.path
				p.Line += doc.line - 1
				problems = append(problems, p)
			}
		}
		add(doc.problems)
		for _, it := range doc.items {
			add(it.problems)
		}
	}
	return problems
}

// reason leaves out the path that an error of the file system repeats.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// readFile reads a file. Documents whose bytes are those of one in before are
// taken from there.
func (c *checker) readFile(path string, content []byte, before *file) *file {
	f := &file{path: path}
	known := make(map[string]*document)
	if before != nil {
		for _, doc := range before.docs {
			known[string(doc.text)] = doc
		}
	}
	for _, p := range split(content) {
		if doc := known[string(p.text)]; doc != nil {
			f.docs = append(f.docs, doc.moved(p.text, p.line))
			delete(known, string(p.text)) // a second copy is an object of its own
		} else {
			f.docs = append(f.docs, c.read(p))
		}
	}
	return f
}

// tree is the files below a path.
type tree struct {
	path  string
	stdin io.Reader
}

// listing is what a tree holds.
type listing struct {
	files []string // sorted
	// folders are those whose changes matter, those that links lead to included.
	folders []string
	// closed are folders that cannot be listed, and why.
	closed map[string]error
}

// parent returns the folder that the path lies in; it is not ok for a path that
// has no name of its own.
func (t tree) parent() (string, bool) {
	path := filepath.Clean(t.path)
	switch filepath.Base(path) {
	case ".", "..", string(filepath.Separator):
		return "", false
	}
	return filepath.Dir(path), true
}

// list finds the files. The error is that of the path itself; what vanishes while it
// is being listed is passed over.
func (t tree) list() (listing, error) {
	info, err := os.Stat(t.path)
	if err != nil {
		return listing{}, err
	}
	var l listing
	if parent, ok := t.parent(); ok {
		l.folders = append(l.folders, parent)
	}
	if !info.IsDir() {
		l.addFile(t.path)
		return l, nil
	}
	root := t.path
	if resolved, err := filepath.EvalSymlinks(root); err == nil && resolved != filepath.Clean(root) {
		l.folders = append(l.folders, filepath.Dir(resolved))
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return listing{}, err
	}
	l.addFolder(root, entries)
	slices.Sort(l.files)
	slices.Sort(l.folders)
	l.folders = slices.Compact(l.folders)
	return l, nil
}

// addFolder adds what a folder holds. Hidden files and folders are passed over,
// which is also how the versions behind a ConfigMap's "..data" stay out; the files
// that link into it are read.
func (l *listing) addFolder(path string, entries []fs.DirEntry) {
	l.folders = append(l.folders, path)
	for _, entry := range entries {
		at := filepath.Join(path, entry.Name())
		switch {
		case isHidden(entry.Name()):
		case entry.IsDir():
			below, err := os.ReadDir(at)
			switch {
			case err == nil:
				l.addFolder(at, below)
			case !errors.Is(err, fs.ErrNotExist):
				l.close(at, err)
			}
		case isManifest(entry.Name()):
			info, err := os.Stat(at)
			if err == nil && info.Mode().IsRegular() || err != nil && !errors.Is(err, fs.ErrNotExist) {
				l.addFile(at) // reading it will tell what is wrong
			}
		}
	}
}

// close notes a folder that cannot be listed. It may be readable again one day, so
// it is watched too.
func (l *listing) close(path string, err error) {
	if l.closed == nil {
		l.closed = make(map[string]error)
	}
	l.closed[path] = err
	l.folders = append(l.folders, path)
}

func (l *listing) addFile(path string) {
	l.files = append(l.files, path)
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		if folder := filepath.Dir(resolved); folder != filepath.Dir(path) {
			l.folders = append(l.folders, folder)
		}
	}
}

func isHidden(name string) bool { return strings.HasPrefix(name, ".") }

func isManifest(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// emptied tells whether content is empty where objects were before.
func emptied(content []byte, before *file) bool {
	return before != nil && len(before.docs) > 0 && len(bytes.TrimSpace(content)) == 0
}

// readAll reads standard input.
func (t tree) readAll() ([]byte, error) {
	content, err := io.ReadAll(t.stdin)
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	return content, nil
}
