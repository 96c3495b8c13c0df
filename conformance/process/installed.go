package process

import (
	"os"
	"os/exec"
	"testing"
)

// Require ends a test that needs programs, where one of them is not installed, as Missing
// does.
func Require(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			Missing(t, err)
		}
	}
}

// Missing ends a test because of a program that is not installed: the test is skipped, or
// fails if EXTERNAL_TESTS is "require".
func Missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("EXTERNAL_TESTS") == "require" {
		t.Fatal(err)
	}
	t.Skip(err)
}
