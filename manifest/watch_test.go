package manifest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patienceOfTests is far more than any change takes; it only ends a test that
// would hang.
const patienceOfTests = time.Minute

// watched is a running Source.
type watched struct {
	*Source
	t   *testing.T
	ctx context.Context
}

func watchPath(t *testing.T, path string) watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := New(path)
	var g errgroup.Group
	g.Go(func() error { return s.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	w := watched{s, t, ctx}
	if change, err := s.Wait(ctx); err != nil || !change.Objects {
		t.Fatalf("the first Wait returned %+v, %v", change, err)
	}
	return w
}

// until waits for the objects to be want and returns how long it took.
func (w watched) until(want string) time.Duration {
	w.t.Helper()
	return w.untilTrue("objects "+want, func() bool { return values(w.Source) == want })
}

func (w watched) untilTrue(what string, cond func() bool) time.Duration {
	w.t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(w.ctx, patienceOfTests)
	defer cancel()
	for !cond() {
		if _, err := w.Wait(ctx); err != nil {
			w.t.Fatalf("waiting for %s: %v; objects %q, problems %v", what, err, values(w.Source), w.Problems())
		}
	}
	return time.Since(begin)
}

func TestRunFollowsEdits(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", configMap("a", "one"))
	w := watchPath(t, f.path)
	w.until("a=one")

	f.write("a.yaml", configMap("a", "two")) // in place
	w.until("a=two")

	f.write("a.yaml.tmp", configMap("a", "three")) // as editors do
	if err := os.Rename(filepath.Join(f.path, "a.yaml.tmp"), filepath.Join(f.path, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.until("a=three")

	f.write("deep/er/b.yaml", configMap("b", "new")) // folders that were not there
	w.until("a=three b=new")
	f.write("deep/er/b.yaml", configMap("b", "newer"))
	w.until("a=three b=newer")

	if err := os.Remove(filepath.Join(f.path, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	w.until("b=newer")
	if err := os.RemoveAll(filepath.Join(f.path, "deep")); err != nil {
		t.Fatal(err)
	}
	w.until("")
	f.write("deep/er/b.yaml", configMap("b", "back"))
	w.until("b=back")
}

// A renamed folder keeps its inode, and with it the kernel's watch.
// What is written beside the manifests, or to what is none, is not read.
func TestOnlyManifestsMatter(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "manifests")
	w := &watch{source: New(folder), parent: filepath.Dir(folder)}
	for _, tt := range []struct {
		name    string
		op      fsnotify.Op
		matters bool
	}{
		{"manifests/a.yaml", fsnotify.Write, true},
		{"manifests/more", fsnotify.Create, true},
		{"manifests/more", fsnotify.Chmod, true},
		{"manifests/log", fsnotify.Write, false},
		{"manifests/lintel.log", fsnotify.Write, false},
		{"manifests/.a.yaml.swp", fsnotify.Create, false},
		{"manifests/..data", fsnotify.Create, true},
		{"manifests", fsnotify.Create, true},
		{"linked.yaml", fsnotify.Write, true},
		{"log", fsnotify.Write, false},
		{"lintel.log", fsnotify.Create, false},
		{"lintel.log.1", fsnotify.Rename, false},
	} {
		event := fsnotify.Event{Name: filepath.Join(filepath.Dir(folder), tt.name), Op: tt.op}
		if got := w.matters(event); got != tt.matters {
			t.Errorf("%v: %t", event, got)
		}
	}
}

func TestRunFollowsRenamedFolders(t *testing.T) {
	f := newFolder(t)
	f.write("x/y/a.yaml", configMap("a", "one"))
	w := watchPath(t, f.path)
	w.until("a=one")
	for i, name := range []string{"z", "x", "z"} {
		old := []string{"x", "z", "x"}[i]
		if err := os.Rename(filepath.Join(f.path, old), filepath.Join(f.path, name)); err != nil {
			t.Fatal(err)
		}
		f.write(name+"/y/a.yaml", configMap("a", name))
		w.until("a=" + name)
		f.write(name+"/y/b.yaml", configMap("b", name))
		w.until("a=" + name + " b=" + name)
		if err := os.Remove(filepath.Join(f.path, name, "y", "b.yaml")); err != nil {
			t.Fatal(err)
		}
		w.until("a=" + name)
	}
}

// A folder that is reached by two names is watched under one.
func TestRunFollowsLinksIntoWatchedFolders(t *testing.T) {
	f := newFolder(t)
	t.Chdir(f.path)
	f.write("shared.yaml", configMap("a", "one"))
	f.write("m/b/real.yaml", configMap("b", "one"))
	for link, target := range map[string]string{"m/r.yaml": "shared.yaml", "m/a/r.yml": "m/b/real.yaml"} {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(f.path, target), link); err != nil {
			t.Fatal(err)
		}
	}
	w := watchPath(t, "m")
	w.until("a=one b=one")
	f.write("shared.yaml", configMap("a", "two"))
	w.until("a=two b=one")
	f.write("m/b/real.yaml", configMap("b", "two"))
	w.until("a=two b=two")
}

func TestRunReportsAndForgetsProblems(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", configMap("a", "one"))
	w := watchPath(t, f.path)
	f.write("a.yaml", "kind: [\n")
	w.untilTrue("a problem", func() bool { return len(w.Problems()) == 1 })
	if got := values(w.Source); got != "a=one" {
		t.Errorf("while broken, %q serves", got)
	}
	f.write("a.yaml", configMap("a", "two"))
	w.untilTrue("no problem", func() bool { return len(w.Problems()) == 0 })
	if got := values(w.Source); got != "a=two" {
		t.Errorf("once mended, %q serves", got)
	}
}

// A ConfigMap that is mounted changes by one rename of the link "..data".
func TestRunFollowsConfigMapMounts(t *testing.T) {
	f := newFolder(t)
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(f.path, name)); err != nil {
			t.Fatal(err)
		}
	}
	swap := func(version string) {
		t.Helper()
		link(version, "..data_tmp")
		if err := os.Rename(filepath.Join(f.path, "..data_tmp"), filepath.Join(f.path, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	f.write("..1/a.yaml", configMap("a", "one"))
	swap("..1")
	link("..data/a.yaml", "a.yaml")
	folder := watchPath(t, f.path)
	single := watchPath(t, filepath.Join(f.path, "a.yaml"))
	folder.until("a=one")
	single.until("a=one")
	for _, version := range []string{"2", "3"} {
		f.write(".."+version+"/a.yaml", configMap("a", "v"+version))
		swap(".." + version)
		folder.until("a=v" + version)
		single.until("a=v" + version)
	}
}

// A path that vanishes keeps serving, and is read again when it is back.
func TestRunOutlivesItsPath(t *testing.T) {
	f := newFolder(t)
	f.write("conf/a.yaml", configMap("a", "one"))
	path := filepath.Join(f.path, "conf")
	w := watchPath(t, path)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	w.untilTrue("a problem", func() bool { return len(w.Problems()) > 0 })
	if got := values(w.Source); got != "a=one" {
		t.Errorf("without its folder, %q serves", got)
	}
	f.write("conf/a.yaml", configMap("a", "two"))
	w.until("a=two")
	f.write("conf/a.yaml", configMap("a", "three"))
	w.until("a=three")
}

// The shell empties a file before it starts the command that fills it.
func TestRunDoubtsEmptyFiles(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", configMap("a", "one"))
	w := watchPath(t, f.path)
	emptied := time.Now()
	f.write("a.yaml", "")
	f.write("b.yaml", configMap("b", "two")) // shows that the change was seen
	var got string
	w.untilTrue("b", func() bool {
		got = values(w.Source)
		return strings.HasSuffix(got, "b=two")
	})
	if got != "a=one b=two" && time.Since(emptied) < patience {
		t.Errorf("while a file is empty, %q serves", got)
	}
	f.write("a.yaml", configMap("a", "three"))
	w.until("a=three b=two")
	emptied = time.Now()
	f.write("a.yaml", "")
	w.until("b=two")
	if took := time.Since(emptied); took < patience/2 {
		t.Errorf("an empty file was believed after %v", took)
	}
}

func TestRunFailsWithoutAPath(t *testing.T) {
	if err := New(filepath.Join(t.TempDir(), "none")).Run(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Run returned %v", err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(t.TempDir()).Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait returned %v", err)
	}
}

// An edit of a route comes into effect while its author is still looking: with
// schemas made anew it takes some 50 ms, and 15 ms after that.
func TestRunIsPrompt(t *testing.T) {
	f := newFolder(t)
	f.write("a.yaml", benchRoute)
	w := watchPath(t, f.path)
	for i, path := range []string{"/first", "/second", "/third"} {
		f.write("a.yaml", strings.Replace(benchRoute, "/api", path, 1))
		took := w.untilTrue(path, func() bool {
			return *w.Snapshot().HTTPRoutes[0].Spec.Rules[0].Matches[0].Path.Value == path
		})
		begin := time.Now()
		if err := New(f.path).Load(); err != nil {
			t.Fatal(err)
		}
		work := time.Since(begin) // that a machine has which may be slow, or busy
		t.Logf("edit %d took effect after %v, of %v of work", i+1, took.Round(time.Millisecond), work.Round(time.Millisecond))
		if took > 2*time.Second+work {
			t.Errorf("an edit took effect after %v, of %v of work", took, work)
		}
	}
}
