package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// wrk is a running wrk.
type wrk struct {
	url     string
	process *exec.Cmd
	out     bytes.Buffer
}

type wrkResult struct{ requests, failures int }

func startWrk(t *testing.T, url string, flags ...string) *wrk {
	t.Helper()
	w := &wrk{url: url, process: exec.Command("wrk", append([]string{"-t1", "-c8", "-d10m", url}, flags...)...)}
	w.process.Stdout, w.process.Stderr = &w.out, &w.out
	if err := w.process.Start(); err != nil {
		t.Fatalf("start wrk (apt install wrk): %v", err)
	}
	t.Cleanup(func() { _ = w.process.Process.Kill() })
	return w
}

// stop ends wrk, which then says what it saw.
func (w *wrk) stop(t *testing.T) wrkResult {
	t.Helper()
	_ = w.process.Process.Signal(os.Interrupt)
	if err := w.process.Wait(); err != nil {
		t.Fatalf("wrk: %v\n%s", err, &w.out)
	}
	text := w.out.String()
	requests := numbers(text, `(\d+) requests in`)
	if len(requests) != 1 {
		t.Fatalf("wrk said:\n%s", text)
	}
	result := wrkResult{requests: requests[0]}
	for _, pattern := range []string{`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`, `Non-2xx or 3xx responses: (\d+)`} {
		for _, n := range numbers(text, pattern) {
			result.failures += n
		}
	}
	return result
}

// numbers returns the groups of a pattern's first match.
func numbers(text, pattern string) []int {
	var found []int
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	for i := 1; i < len(match); i++ {
		n, _ := strconv.Atoi(match[i]) // digits
		found = append(found, n)
	}
	return found
}
