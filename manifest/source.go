package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// Source is a path and the objects that its files hold. Either Run or Load is
// called, once; the other methods may be called from any goroutine, and what they
// return is read-only.
type Source struct {
	tree tree

	// These belong to the goroutine of Run or Load.
	files   map[string]*file
	catalog *catalog
	loaded  bool
	// checker is nil when there is none to spare; see keepSchemas.
	checker *checker

	changed chan struct{} // holds one token while there is news that Wait did not take

	mu        sync.Mutex // guards what follows
	news      gateway.Change
	snapshot  *gateway.Snapshot
	endpoints map[types.NamespacedName][]*discoveryv1.EndpointSlice
	problems  []Problem
	entries   map[gateway.ObjectRef]*entry // of the objects that serve
}

// New returns a Source for a directory, a file, or Stdin. Of a directory and its
// subdirectories, the files *.yaml, *.yml and *.json are read but for hidden ones.
// Nothing is read before Run or Load.
func New(path string) *Source {
	return &Source{
		tree:     tree{path: path, stdin: os.Stdin},
		files:    make(map[string]*file),
		catalog:  newCatalog(),
		changed:  make(chan struct{}, 1),
		snapshot: new(gateway.Snapshot),
	}
}

// Load reads everything once, for a caller that does not want to watch. Mistakes
// in manifests are Problems; the error is that of a path that cannot be read.
func (s *Source) Load() error {
	l, err := s.list()
	if err != nil {
		return err
	}
	return s.loadFirst(l)
}

// Wait blocks until something changed since the last Wait and returns it, or
// returns the error of ctx when that ends. The first Wait returns once everything
// was read, with Objects set. A zero Change means that only Problems changed.
func (s *Source) Wait(ctx context.Context) (gateway.Change, error) {
	select {
	case <-s.changed:
	case <-ctx.Done():
		return gateway.Change{}, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	news := s.news
	s.news = gateway.Change{}
	return news, nil
}

// Snapshot returns the objects of now, in the order of files and lines. Settings
// and Observed are the caller's to fill. Objects that did not change keep their
// pointers from one Snapshot to the next.
func (s *Source) Snapshot() *gateway.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot := *s.snapshot
	return &snapshot
}

// EndpointSlices returns those that name a Service in their label
// kubernetes.io/service-name.
func (s *Source) EndpointSlices(service types.NamespacedName) []*discoveryv1.EndpointSlice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpoints[service]
}

// Problems returns what is wrong now, by file and line. The slice is the caller's.
func (s *Source) Problems() []Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

// Locate returns where a field of an object is written, or else its nearest
// ancestor that is; "" is the object itself. The file is "" and the line 0 when no
// file declares the object.
func (s *Source) Locate(ref gateway.ObjectRef, field string) (file string, line int) {
	s.mu.Lock()
	e := s.entries[ref]
	s.mu.Unlock()
	if e == nil {
		return "", 0
	}
	p := e.place
	root := p.doc.root(p.item)
	if root == nil {
		return p.file, p.line()
	}
	return p.file, p.doc.line + locate(root, field) - 1
}

// Validate returns what is wrong with the objects of one text, which may hold
// several documents. Lines are those of the text.
func Validate(text []byte) []Problem {
	f := newChecker().readFile("", text, nil)
	_, _, double := declared([]*file{f})
	problems := append(f.problems(), double...)
	slices.SortStableFunc(problems, compareProblems)
	return problems
}

// list finds the files, none for standard input.
func (s *Source) list() (listing, error) {
	if s.tree.path == Stdin {
		return listing{}, nil
	}
	l, err := s.tree.list()
	if err != nil {
		return listing{}, fmt.Errorf("list manifests: %w", err)
	}
	return l, nil
}

// loadFirst reads the files of a listing, or standard input.
func (s *Source) loadFirst(l listing) error {
	// Schemas and compiled rules are some megabytes for a moment. Give them back at
	// once rather than minutes later: many a Source is never edited.
	defer debug.FreeOSMemory()
	defer s.dropSchemas()
	if s.tree.path == Stdin {
		content, err := s.tree.readAll()
		if err != nil {
			return err
		}
		s.files[Stdin] = newChecker().readFile(Stdin, content, nil)
		s.publish(nil)
		return nil
	}
	s.reload(l, takeEmpty)
	return nil
}

// emptiness says what to make of a file that held objects and is empty now.
type emptiness int

const (
	doubtEmpty emptiness = iota // someone is about to write it
	takeEmpty                   // someone wanted it so
)

// reload reads the files of a listing again and publishes what changed. It reports
// whether there was a file to doubt.
func (s *Source) reload(l listing, empty emptiness) (doubts bool) {
	if s.checker == nil {
		s.checker = newChecker()
	}
	next := make(map[string]*file, len(l.files))
	for _, path := range l.files {
		before := s.files[path]
		content, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted since it was listed
		case err != nil:
			f := &file{path: path, err: err}
			if before != nil {
				f.docs = before.docs
			}
			next[path] = f
		case empty == doubtEmpty && emptied(content, before):
			doubts = true
			next[path] = before
		default:
			next[path] = s.checker.readFile(path, content, before)
		}
	}
	for folder, err := range l.closed {
		next[folder] = &file{path: folder, err: err, folder: true}
		for path, before := range s.files {
			if strings.HasPrefix(path, folder+string(filepath.Separator)) {
				next[path] = before
			}
		}
	}
	s.files = next
	s.publish(nil)
	return doubts
}

func (s *Source) dropSchemas() { s.checker = nil }

// publish makes the objects of the files, and more problems than theirs, those of
// now.
func (s *Source) publish(more []Problem) {
	files := make([]*file, 0, len(s.files))
	for _, f := range s.files {
		files = append(files, f)
	}
	slices.SortFunc(files, compareFiles)
	change, problems := s.catalog.update(files)
	for _, f := range files {
		problems = append(problems, f.problems()...)
	}
	problems = append(problems, more...)
	slices.SortStableFunc(problems, compareProblems)
	snapshot, endpoints := s.catalog.snapshot()
	if !s.loaded {
		s.loaded, change.Objects = true, true
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	news := change.Objects || len(change.Services) > 0 || !slices.Equal(problems, s.problems)
	s.snapshot, s.endpoints, s.problems, s.entries = snapshot, endpoints, problems, s.catalog.entries
	if !news {
		return
	}
	s.news.Objects = s.news.Objects || change.Objects
	for _, service := range change.Services {
		if !slices.Contains(s.news.Services, service) {
			s.news.Services = append(s.news.Services, service)
		}
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
