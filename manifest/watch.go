package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long the files must be quiet before they are read. A program
	// that rewrites a file empties it and then fills it in several writes: what
	// stands there in between must not become the configuration.
	settle = 10 * time.Millisecond
	// settleAtMost bounds that wait while somebody writes all the time.
	settleAtMost = 50 * time.Millisecond
	// patience is how long a file that became empty is taken for one that is being
	// written: the shell empties it before it starts the command that fills it.
	patience = 500 * time.Millisecond
	// keepSchemas is how long schemas and compiled rules, some three megabytes, are
	// kept for the next edit. To make those of one kind takes 30 ms or more.
	keepSchemas = 30 * time.Second
	// What could not be read for a reason of which no event tells that it is over, such as
	// too many open files, is tried again after firstAgain, then twice as long and so on up
	// to lastAgain.
	firstAgain = 250 * time.Millisecond
	lastAgain  = time.Minute
)

// Run reads everything and follows the changes until ctx ends, when it returns
// nil. The error is that of a path that cannot be read or watched at the start. Standard input is
// read once.
func (s *Source) Run(ctx context.Context) error {
	if s.tree.path == Stdin {
		return s.runStdin(ctx)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch manifests: %w", err)
	}
	w := newWatch(s, watcher)
	var hearing sync.WaitGroup
	hearing.Go(w.hearErrors)
	defer hearing.Wait()
	defer watcher.Close()
	l, err := s.list()
	if err != nil {
		return err
	}
	// Watch first and then read, so that no change falls between the two.
	if l, err = w.follow(l); err != nil {
		return err
	}
	if err := s.loadFirst(l); err != nil {
		return err
	}
	w.run(ctx)
	return nil
}

// runStdin reads standard input, and then waits for the end of ctx. Nothing ends a
// read from it but its other end: when that stays open, the goroutine stays behind
// until the process ends.
func (s *Source) runStdin(ctx context.Context) error {
	loaded := make(chan error, 1)
	go func() { loaded <- s.Load() }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-loaded:
		if err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// watch follows the changes of a Source's files.
type watch struct {
	source  *Source
	watcher *fsnotify.Watcher
	parent  string        // watchName of the folder around the path; "" is none
	missed  chan struct{} // holds a token when something may have changed without an event
}

func newWatch(s *Source, watcher *fsnotify.Watcher) *watch {
	return &watch{source: s, watcher: watcher, missed: make(chan struct{}, 1)}
}

// hearErrors takes the errors of fsnotify until that is closed, at once, as some are told while it
// is locked. After each, such as too many events at a time or a folder that was renamed and removed
// before it was looked at, nobody knows what changed.
func (w *watch) hearErrors() {
	for range w.watcher.Errors {
		select {
		case w.missed <- struct{}{}:
		default:
		}
	}
}

// follow watches the folders of a listing, and those that appeared meanwhile: it
// returns the listing that was made after the last was watched.
func (w *watch) follow(l listing) (listing, error) {
	w.parent = ""
	if parent, ok := w.source.tree.parent(); ok {
		w.parent = watchName(parent)
	}
	tried := make(map[string]bool) // once each, so that this ends whatever the folders do
	for {
		folders := watchNames(l.folders)
		watched := w.forgetOthers(folders)
		added := false
		for _, folder := range folders {
			if watched[folder] || tried[folder] {
				continue
			}
			tried[folder] = true
			switch err := w.watcher.Add(folder); {
			case err == nil:
				added = true
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
				// One that vanished is no mistake, and the folder around the path may
				// well be closed to us.
			default:
				return listing{}, fmt.Errorf("watch folder %s: %w", folder, err)
			}
		}
		if !added {
			return l, nil
		}
		var err error
		if l, err = w.source.list(); err != nil {
			return listing{}, err
		}
	}
}

// watchNames gives every folder one name: the kernel knows one watch a folder, and
// fsnotify reports its events under the name that came first.
func watchNames(folders []string) []string {
	names := make([]string, len(folders))
	for i, folder := range folders {
		names[i] = watchName(folder)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// watchName is a folder's absolute path without links, or what comes nearest.
func watchName(folder string) string {
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return folder
	}
	if resolved, err := filepath.EvalSymlinks(absolute); err == nil {
		return resolved
	}
	return absolute
}

// forgetOthers ends the watches of other folders, and returns those that are left.
// A folder that was renamed keeps the watch of its old name, under which its events
// would come, until that is ended.
func (w *watch) forgetOthers(folders []string) map[string]bool {
	watched := make(map[string]bool)
	for _, folder := range w.watcher.WatchList() {
		if slices.Contains(folders, folder) {
			watched[folder] = true
			continue
		}
		_ = w.watcher.Remove(folder) // the folder may be gone, and its watch with it
	}
	return watched
}

// run reads again whatever changes until ctx ends.
func (w *watch) run(ctx context.Context) {
	var doubt <-chan time.Time // fires when a file has been empty for too long
	var rest <-chan time.Time  // fires when nothing was edited for keepSchemas
	var again <-chan time.Time // fires when something is to be read that could not be
	pause := firstAgain
	for {
		empty := doubtEmpty
		select {
		case <-ctx.Done():
			return
		case <-rest:
			rest = nil
			w.source.dropSchemas()
			debug.FreeOSMemory()
			continue
		case <-doubt:
			empty = takeEmpty
		case <-again:
		case event := <-w.watcher.Events:
			if !w.matters(event) {
				continue
			}
			w.drain(ctx)
		case <-w.missed:
			w.drain(ctx)
		}
		doubt, again, rest = nil, nil, time.After(keepSchemas)
		doubts, failed := w.reload(empty)
		if doubts {
			doubt = time.After(patience)
		}
		if !failed {
			pause = firstAgain
			continue
		}
		again = time.After(pause)
		pause = min(2*pause, lastAgain)
	}
}

// drain takes the events that come before the files are quiet.
func (w *watch) drain(ctx context.Context) {
	latest := time.NewTimer(settleAtMost)
	defer latest.Stop()
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	for {
		select {
		case event := <-w.watcher.Events:
			if w.matters(event) {
				quiet.Reset(settle)
			}
		case <-quiet.C:
			return
		case <-latest.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// reload reads the files again. While the path itself cannot be read, all objects
// stay as they were: it may be about to come back. It reports whether there was a file to doubt,
// and whether something could not be read that may be readable soon.
func (w *watch) reload(empty emptiness) (doubts, failed bool) {
	l, err := w.source.list()
	if err == nil {
		l, err = w.follow(l)
	}
	if err != nil {
		w.source.publish([]Problem{{File: w.source.tree.path, Message: reason(err)}})
		return false, mayPass(err)
	}
	doubts = w.source.reload(l, empty)
	for _, f := range w.source.files {
		failed = failed || mayPass(f.err)
	}
	return doubts, failed
}

// mayPass tells whether an error may be over without an event that tells of it. There are events
// of files that come to be, and of those that are permitted.
func mayPass(err error) bool {
	return err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission)
}

// matters tells whether an event can be about a manifest, a folder of them, or the
// link by which a ConfigMap's files all change at once. What is written to other files, a log
// say, does not; nor does anything of other names beside the path.
func (w *watch) matters(event fsnotify.Event) bool {
	name := filepath.Base(event.Name)
	if name == "..data" {
		return true
	}
	if w.parent != "" && filepath.Dir(event.Name) == w.parent {
		return name == filepath.Base(w.source.tree.path) || isManifest(name) // a link may lead there
	}
	return !isHidden(name) && (isManifest(name) || !event.Has(fsnotify.Write) && filepath.Ext(name) == "" || event.Has(fsnotify.Remove|fsnotify.Rename|fsnotify.Create))
}
