package h2spec

import (
	"slices"
	"testing"
)

func TestParseReport(t *testing.T) {
	const report = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="3.5. HTTP/2 Connection Preface" package="http2/3.5" id="3.5" tests="2" skipped="0" failures="1" errors="0">
    <testcase package="http2/3.5" classname="Sends client connection preface" time="0.0007"></testcase>
    <testcase package="http2/3.5" classname="Sends invalid connection preface" time="0.0009">
      <failure>The endpoint MUST terminate the TCP connection.&#xA;Expected: Connection closed</failure>
    </testcase>
  </testsuite>
  <testsuite name="6.9. WINDOW_UPDATE" package="http2/6.9" id="6.9" tests="2" skipped="1" failures="0" errors="1">
    <testcase package="http2/6.9" classname="a" time="0.0000"><skipped></skipped></testcase>
    <testcase package="http2/6.9" classname="b" time="0.0000"><error>dial failed</error></testcase>
  </testsuite>
</testsuites>`
	got, err := parseReport([]byte(report))
	if err != nil {
		t.Fatal(err)
	}
	want := []Failure{
		{"http2/3.5", "Sends invalid connection preface", "The endpoint MUST terminate the TCP connection.\nExpected: Connection closed"},
		{"http2/6.9", "b", "dial failed"},
	}
	if s := got.String(); s != "1 passed, 1 skipped, 2 failed" || !slices.Equal(got.Failed, want) {
		t.Errorf("got %s, %q", s, got.Failed)
	}
}

func TestAReportWithoutCasesIsNone(t *testing.T) {
	for _, content := range []string{"", "<testsuites></testsuites>", "<testsuites>"} {
		if r, err := parseReport([]byte(content)); err == nil {
			t.Errorf("%q: got %v", content, r)
		}
	}
}
