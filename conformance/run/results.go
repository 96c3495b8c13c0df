package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is what test2json writes a line of.
type event struct {
	Action  string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

// result is how one test of the suite ended.
type result struct {
	name   string
	action string // pass, fail or skip
	took   time.Duration
	reason string // of a failure
}

// results are those of one run, in the order in which they ended. Tests of features
// that are not supported are not among them.
type results struct {
	tests []result
	setup string // why the suite ended before its tests, "" if it didn't

	probes  *probes // nil without rollouts
	unasked bool    // no suite was to run
}

const root = "TestConformance"

// readResults reads events, and says on standard error how tests end.
func readResults(events io.Reader) (results, error) {
	var r results
	output := map[string][]string{} // by test: the root's is under ""
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return results{}, fmt.Errorf("read event %q: %w", lines.Text(), err)
		}
		_, path, _ := strings.Cut(e.Test, root)
		name, below, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		switch {
		case e.Action == "output":
			output[name] = append(output[name], e.Output)
		case e.Action != "pass" && e.Action != "fail" && e.Action != "skip":
		case below != "" || e.Action == "skip" && isUnsupported(output[name]):
		case name != "":
			t := result{name: name, action: e.Action, took: time.Duration(e.Elapsed * float64(time.Second))}
			if e.Action == "fail" {
				t.reason = reason(output[name])
			}
			fmt.Fprintln(os.Stderr, t)
			r.tests = append(r.tests, t)
		case e.Action == "fail" && len(r.tests) == 0:
			r.setup = reason(output[""])
		}
	}
	return r, lines.Err()
}

func isUnsupported(output []string) bool {
	return slices.ContainsFunc(output, func(line string) bool {
		return strings.Contains(line, "suite does not support") || strings.Contains(line, "test explicitly skipped")
	})
}

// sourceLine is where a test says something: file.go:12: text.
var sourceLine = regexp.MustCompile(`^\s*\S+\.go:\d+: (.*)`)

// reason finds the first error in the output of a test: what testify calls Error and
// Messages, or else the last line that has a place in the source.
func reason(output []string) string {
	var found []string
	last := ""
	for i, line := range output {
		for _, label := range []string{"Error:", "Messages:"} {
			text, ok := strings.CutPrefix(strings.TrimSpace(line), label)
			if !ok {
				continue
			}
			if text = strings.TrimSpace(text); text == "" && i+1 < len(output) {
				text = strings.TrimSpace(output[i+1])
			}
			found = append(found, text)
		}
		if strings.Contains(line, "Messages:") || strings.Contains(line, "--- FAIL") && len(found) > 0 {
			break
		}
		if m := sourceLine.FindStringSubmatch(line); m != nil && strings.TrimSpace(m[1]) != "" {
			last = strings.TrimSpace(m[1])
		}
		if strings.HasPrefix(line, "panic: ") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(found) == 0 {
		return last
	}
	return strings.Join(found, "; ")
}

// String is a line for a person.
func (t result) String() string {
	s := fmt.Sprintf("%-4s %6.1f s  %s", t.action, t.took.Seconds(), t.name)
	if t.reason != "" {
		s += "\n               " + t.reason
	}
	return s
}

func (r results) count(action string) int {
	n := 0
	for _, t := range r.tests {
		if t.action == action {
			n++
		}
	}
	return n
}

// String is the counts.
func (r results) String() string {
	if r.unasked {
		return "no suite"
	}
	return fmt.Sprintf("%d passed, %d failed, %d skipped", r.count("pass"), r.count("fail"), r.count("skip"))
}

// failure is nil when something passed and nothing failed.
func (r results) failure() error {
	var probed error
	if r.probes != nil {
		probed = r.probes.failure()
	}
	return errors.Join(r.suiteFailure(), probed)
}

func (r results) suiteFailure() error {
	switch {
	case r.unasked:
		return nil
	case r.setup != "":
		return errors.New("the suite could not begin: " + r.setup)
	case r.count("fail") > 0:
		return fmt.Errorf("%d tests failed", r.count("fail"))
	case r.count("pass") == 0:
		return errors.New("no test has run")
	}
	return nil
}

// print writes what did not pass.
func (r results) print(out io.Writer) {
	for _, t := range r.tests {
		if t.action != "pass" {
			fmt.Fprintln(out, t)
		}
	}
}

// markdown is a table, failures first.
func (r results) markdown() string {
	var b strings.Builder
	if r.setup != "" {
		fmt.Fprintf(&b, "The suite could not begin: %s\n\n", r.setup)
	}
	b.WriteString("| test | result | seconds | reason |\n|---|---|---|---|\n")
	for _, action := range []string{"fail", "skip", "pass"} {
		for _, t := range r.tests {
			if t.action == action {
				reason := strings.ReplaceAll(strings.ReplaceAll(t.reason, "|", `\|`), "\n", " ")
				fmt.Fprintf(&b, "| %s | %s | %.1f | %s |\n", t.name, t.action, t.took.Seconds(), reason)
			}
		}
	}
	return b.String()
}
