// Package filelimit makes a process have too many open files, for tests of what it does then.
package filelimit

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Reach makes every attempt of this process to open one more file fail (EMFILE), until below is
// called or the test ends. No other test may run meanwhile.
func Reach(t testing.TB) (below func()) {
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
	below = func() { limit(before) }
	t.Cleanup(below)
	return below
}
