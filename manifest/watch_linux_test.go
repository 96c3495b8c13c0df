package manifest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/fsnotify/fsnotify"

	"github.com/lintel-dev/lintel/internal/filelimit"
)

// A change that comes while the process has too many files open is taken up when it has fewer,
// though nothing changes any more.
func TestRunReadsLaterWhatItCouldNotRead(t *testing.T) {
	for _, path := range []string{"", "a.yaml"} { // the folder, which can't be listed, and a file
		t.Run(path, func(t *testing.T) {
			f := newFolder(t)
			f.write("a.yaml", configMap("a", "one"))
			f.write("a.yaml.tmp", configMap("a", "two"))
			w := watchPath(t, filepath.Join(f.path, path))
			w.until("a=one")
			belowLimit := filelimit.Reach(t)
			if err := os.Rename(filepath.Join(f.path, "a.yaml.tmp"), filepath.Join(f.path, "a.yaml")); err != nil {
				t.Fatal(err)
			}
			w.untilTrue("a problem", func() bool { return len(w.Problems()) > 0 })
			if got := values(w.Source); got != "a=one" {
				t.Errorf("while it can't be read, %q serves", got)
			}
			belowLimit()
			w.until("a=two")
			w.untilTrue("no problem", func() bool { return len(w.Problems()) == 0 })
		})
	}
}

// A folder that is renamed and removed before fsnotify looks at it is an error to that. It ends
// nothing: what is there is served.
func TestRunOutlivesErrorsOfItsWatch(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", configMap("a", "one"))
	f.write("more/b.yaml", configMap("b", "one"))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	watcher, err := fsnotify.NewWatcher()
	must(err)
	s := New(f.path)
	w := newWatch(s, watcher)
	l, err := s.list()
	must(err)
	l, err = w.follow(l)
	must(err)
	must(s.loadFirst(l))

	f.write("a.yaml", configMap("a", "two")) // as nobody takes this event, those that follow wait
	must(os.Rename(filepath.Join(f.path, "more"), filepath.Join(f.path, "less")))
	must(os.RemoveAll(filepath.Join(f.path, "less")))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	running.Go(w.hearErrors)
	defer func() {
		cancel()
		watcher.Close()
		running.Wait()
	}()
	following := watched{s, t, ctx}
	following.until("a=two")
	f.write("a.yaml", configMap("a", "three"))
	following.until("a=three")
}
