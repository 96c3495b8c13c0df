package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

const loadSummary = `requests 1200
measured 1000
errors 0
unsent 7
bytes 1024000
connects 64
seconds 2.000000
cpu_seconds 0.015000000
p50_us 250.0
p90_us 300.0
p99_us 1500.0
p999_us 9000.0
p99_steady_us 900.0
`

func TestParseLoad(t *testing.T) {
	s, err := parseLoad([]byte(loadSummary), 1024)
	if err != nil {
		t.Fatal(err)
	}
	if s.requests != 1200 || s.unsent != 7 || s.perRequest() != 15*time.Microsecond || s.rate() != 500 || s.p50 != 250*time.Microsecond || s.p99 != 1500*time.Microsecond || s.steady != 900*time.Microsecond {
		t.Errorf("read %+v", s)
	}
}

func TestParseLoadRefusesWrongAnswers(t *testing.T) {
	for name, text := range map[string]string{
		"errors":       strings.Replace(loadSummary, "errors 0", "errors 3", 1),
		"short bodies": strings.Replace(loadSummary, "bytes 1024000", "bytes 1023999", 1),
		"no answers":   strings.Replace(loadSummary, "measured 1000", "measured 0", 1),
	} {
		if _, err := parseLoad([]byte(text), 1024); !errors.Is(err, errBadAnswers) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"cut short": strings.Replace(loadSummary, "cpu_seconds 0.015000000\n", "", 1),
		"no number": strings.Replace(loadSummary, "errors 0", "errors none", 1),
	} {
		if _, err := parseLoad([]byte(text), 1024); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

const h2loadSummary = `starting benchmark...
spawning thread #0: 4 total client(s). 2000 total requests
TLS Protocol: TLSv1.3
Application protocol: h2
progress: 100% done

finished in 250.50ms, 7984.03 req/s, 8.11MB/s
requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.03MB (2130000) total, 40.1KB (41063) headers (space savings 90.1%), 1.95MB (2048000) data
                     min         max         mean         sd        +/- sd
time for request:      100us      9.99ms      3.00ms       800us    85.00%
`

func TestParseH2Load(t *testing.T) {
	s, err := parseH2Load([]byte(h2loadSummary), 2000, 1024)
	if err != nil {
		t.Fatal(err)
	}
	if s.requests != 2000 || s.measured != 2000 || s.wall != 250500*time.Microsecond {
		t.Errorf("read %+v", s)
	}
}

func TestParseH2LoadRefusesWrongAnswers(t *testing.T) {
	for name, c := range map[string]struct{ old, replacement string }{
		"failed":       {"2000 succeeded, 0 failed", "1999 succeeded, 1 failed"},
		"other status": {"2000 2xx, 0 3xx", "1990 2xx, 10 3xx"},
		"fewer":        {"2000 done", "1500 done"},
		"short bodies": {"(2048000) data", "(2047999) data"},
		"no summary":   {"finished in", "crashed in"},
	} {
		if _, err := parseH2Load([]byte(strings.Replace(h2loadSummary, c.old, c.replacement, 1)), 2000, 1024); !errors.Is(err, errBadAnswers) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestParseResident(t *testing.T) {
	n, err := parseResident([]byte("Name:\tx\nVmHWM:\t   99 kB\nVmRSS:\t    1234 kB\nRssAnon:\t 1 kB\n"))
	if err != nil || n != 1234 {
		t.Errorf("read %d, %v", n, err)
	}
	for _, text := range []string{"Name:\tx\n", "x\nVmRSS:\t12 MB\n"} {
		if _, err := parseResident([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	self := []int{os.Getpid()}
	before, err := cpuTime(self)
	if err != nil {
		t.Fatal(err)
	}
	sum := byte(0)
	for _, b := range expectedBody(1 << 22) {
		sum += b
	}
	after, err := cpuTime(self)
	if err != nil || after <= before {
		t.Errorf("CPU time went from %v to %v (%v) for work of %d", before, after, err, sum)
	}
	if n, err := residentKiB(self); err != nil || n < 1024 {
		t.Errorf("resident: %d KiB, %v", n, err)
	}
}

func TestCPUModel(t *testing.T) {
	if got := cpuModel([]byte("processor\t: 0\nmodel name\t: A: fast one \nflags\t: x\n")); got != "A: fast one" {
		t.Errorf("model is %q", got)
	}
	if got := cpuModel(nil); got != "unknown CPU" {
		t.Errorf("model of nothing is %q", got)
	}
}
