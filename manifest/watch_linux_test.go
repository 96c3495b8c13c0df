package manifest

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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
			closeFiles := openTooManyFiles(t)
			if err := os.Rename(filepath.Join(f.path, "a.yaml.tmp"), filepath.Join(f.path, "a.yaml")); err != nil {
				t.Fatal(err)
			}
			w.untilTrue("a problem", func() bool { return len(w.Problems()) > 0 })
			if got := values(w.Source); got != "a=one" {
				t.Errorf("while it can't be read, %q serves", got)
			}
			closeFiles()
			w.until("a=two")
			w.untilTrue("no problem", func() bool { return len(w.Problems()) == 0 })
		})
	}
}

// openTooManyFiles makes every attempt to open one more fail (EMFILE) until closeFiles.
func openTooManyFiles(t *testing.T) (closeFiles func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	limit := func(to unix.Rlimit) {
		t.Helper()
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &to); err != nil {
			t.Fatal(err)
		}
	}
	limit(unix.Rlimit{Cur: 0, Max: before.Max})
	t.Cleanup(func() { limit(before) })
	return func() { limit(before) }
}
