package main

import (
	"strings"
	"testing"
)

const events = `{"Action":"run","Test":"TestConformance"}
{"Action":"output","Test":"TestConformance","Output":"    conformance.go:92: Running\n"}
{"Action":"output","Test":"TestConformance/A","Output":"    http.go:12: waiting\n"}
{"Action":"output","Test":"TestConformance/A/first","Output":"        http.go:30: \n"}
{"Action":"output","Test":"TestConformance/A/first","Output":"        \tError Trace:\thttp.go:30\n"}
{"Action":"output","Test":"TestConformance/A/first","Output":"        \tError:      \tNot equal:\n"}
{"Action":"output","Test":"TestConformance/A/first","Output":"        \tMessages:   \twrong | answer\n"}
{"Action":"fail","Test":"TestConformance/A/first","Elapsed":1}
{"Action":"fail","Test":"TestConformance/A","Elapsed":1.5}
{"Action":"output","Test":"TestConformance/B","Output":"    conformance.go:69: Skipping B: suite does not support C\n"}
{"Action":"skip","Test":"TestConformance/B","Elapsed":0}
{"Action":"pass","Test":"TestConformance/D/x","Elapsed":1}
{"Action":"pass","Test":"TestConformance/D","Elapsed":2}
{"Action":"output","Test":"TestConformance/E","Output":"    tls.go:7: no certificate\n"}
{"Action":"fail","Test":"TestConformance/E","Elapsed":2}
{"Action":"fail","Test":"TestConformance","Elapsed":4}
`

func TestResultsHaveTheFirstReasonOfEachFailure(t *testing.T) {
	r, err := readResults(strings.NewReader(events))
	if err != nil {
		t.Fatal(err)
	}
	const want = "| test | result | seconds | reason |\n|---|---|---|---|\n" +
		"| A | fail | 1.5 | Not equal:; wrong \\| answer |\n" +
		"| E | fail | 2.0 | no certificate |\n" +
		"| D | pass | 2.0 |  |\n"
	if got := r.markdown(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := r.failure(); err == nil || err.Error() != "2 tests failed" {
		t.Errorf("failure is %v", err)
	}
}

func TestASuiteThatCouldNotBeginIsAFailure(t *testing.T) {
	const events = `{"Action":"output","Test":"TestConformance","Output":"    suite.go:442: no Gateway is ready\n"}
{"Action":"fail","Test":"TestConformance","Elapsed":4}
`
	r, err := readResults(strings.NewReader(events))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.failure(); err == nil || !strings.Contains(err.Error(), "no Gateway is ready") {
		t.Errorf("failure is %v", err)
	}
}

func TestAReportIsWorseThan(t *testing.T) {
	const before = `
profiles:
- name: GATEWAY-HTTP
  core: {result: success, statistics: {Passed: 40, Skipped: 0, Failed: 0}}
  extended:
    result: success
    statistics: {Passed: 2, Skipped: 0, Failed: 0}
    supportedFeatures: [HTTPRouteCORS]
    unsupportedFeatures: [HTTPRouteRetry]
`
	for _, test := range []struct {
		name, old, new string
		want           string
	}{
		{"the same", "", "", ""},
		{"better", "supportedFeatures: [HTTPRouteCORS]", "supportedFeatures: [HTTPRouteCORS, HTTPRouteRetry]", ""},
		{"profile", "GATEWAY-HTTP", "GATEWAY-GRPC", "profile GATEWAY-HTTP is missing"},
		{"fewer tests", "Passed: 40", "Passed: 39", "GATEWAY-HTTP core: 39 tests passed, and 40 did before"},
		{"failure", "Passed: 2, Skipped: 0, Failed: 0}", "Passed: 2, Skipped: 0, Failed: 1}\n    failedTests: [HTTPRouteCORS]", "GATEWAY-HTTP extended: HTTPRouteCORS failed"},
		{"skip", "Failed: 0}}", "Failed: 0}, skippedTests: [HTTPRouteWeight]}", "GATEWAY-HTTP core: HTTPRouteWeight was skipped"},
		{"feature", "supportedFeatures: [HTTPRouteCORS]", "supportedFeatures: []", "GATEWAY-HTTP: feature HTTPRouteCORS is not supported any more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			was, err := parseReport([]byte(before))
			if err != nil {
				t.Fatal(err)
			}
			is, err := parseReport([]byte(strings.Replace(before, test.old, test.new, 1)))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(is.worseThan(was), "\n"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
