package main

import (
	"testing"
	"time"
)

// testTimeout bounds every wait of a test, on a busy machine too.
const testTimeout = 2 * time.Minute

// until repeats what until it returns "": before that, it says what is missing.
func until(t *testing.T, name string, what func() string) {
	t.Helper()
	deadline, tick := time.After(testTimeout), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		missing := what()
		if missing == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v: %s", name, testTimeout, missing)
		}
	}
}

// untilNil repeats what until it returns nil.
func untilNil(t *testing.T, name string, what func() error) {
	t.Helper()
	until(t, name, func() string {
		if err := what(); err != nil {
			return err.Error()
		}
		return ""
	})
}

// showIfFailed shows a log at the end of a test that failed.
func showIfFailed(t *testing.T, log *lockedBuffer) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("lintel said:\n%s", log)
		}
	})
}
