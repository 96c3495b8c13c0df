package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 4}, 4},
		{[]float64{8, 1, 4, 2}, 3},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

// rounds makes samples of which each request took so many µs of CPU time.
func rounds(name string, micros ...float64) proxyResult {
	p := proxyResult{name: name, rss: 2048}
	for _, m := range micros {
		p.samples = append(p.samples, sample{
			requests: 1200, measured: 1000, wall: time.Second, cpu: seconds(m * 1000 / 1e6), p99: seconds(m / 1e3), steady: seconds(m / 2e3),
		})
	}
	return p
}

// The machine slowed down to a half in the second round, for all.
func TestRatioComparesWithinRounds(t *testing.T) {
	got := ratio(rounds("a", 10, 20, 10), rounds("b", 20, 40, 20), cpuMicros)
	if math.Abs(got-0.5) > 1e-9 {
		t.Errorf("ratio = %v, want 0.5", got)
	}
	if got := ratio(rounds("a", 10), rounds("b"), cpuMicros); got != 0 {
		t.Errorf("ratio to nothing = %v, want 0", got)
	}
}

func TestLinesForMachines(t *testing.T) {
	proxies := []proxyResult{rounds("lintel", 10), rounds("nginx", 20)}
	for name, c := range map[string]struct {
		result caseResult
		want   string
	}{
		"saturated": {
			caseResult{Case: Case{Name: "x"}, proxies: proxies},
			"rss x lintel 2048\nrss x nginx 2048\nratio x cpu lintel/nginx 0.50\nratio x rate lintel/nginx 1.00\n",
		},
		"fixed rate": {
			caseResult{Case: Case{Name: "x"}, rate: 100, proxies: proxies},
			"rss x lintel 2048\nrss x nginx 2048\nratio x cpu lintel/nginx 0.50\nratio x p99 lintel/nginx 0.50\n",
		},
		"lintel failed": {
			caseResult{Case: Case{Name: "x"}, proxies: proxies[1:]},
			"rss x nginx 2048\n",
		},
		"slow clients": {
			caseResult{Case: Case{Name: "x", Slow: 1}, rate: 100, proxies: []proxyResult{
				{name: "lintel", rss: 2048, samples: rounds("", 12, 24).samples, alone: rounds("", 10, 20).samples, elsewhere: rounds("", 11, 22).samples},
				{name: "nginx", rss: 2048, samples: rounds("", 24, 48).samples, alone: rounds("", 16, 32).samples, elsewhere: rounds("", 20, 40).samples},
			}},
			"rss x lintel 2048\nrss x nginx 2048\nratio x p99 with/without 1.20\nratio x p99-steady with/without 1.20\nratio x p99 with/elsewhere 1.09\nratio x p99-steady with/elsewhere 1.09\n" +
				"ratio x p99 nginx-with/nginx-without 1.50\nratio x p99-steady nginx-with/nginx-without 1.50\nratio x p99 nginx-with/nginx-elsewhere 1.20\nratio x p99-steady nginx-with/nginx-elsewhere 1.20\n" +
				"ratio x cpu lintel/nginx 0.50\nratio x p99 lintel/nginx 0.50\n",
		},
		"idle connections": {
			caseResult{Case: Case{Name: "x", Idle: true}, proxies: []proxyResult{{name: "lintel", rss: 2048}, {name: "nginx", rss: 4096}}},
			"rss x lintel 2048\nrss x nginx 4096\n",
		},
		"all failed": {caseResult{Case: Case{Name: "x"}}, ""},
	} {
		var out strings.Builder
		c.result.print(&out)
		if out.String() != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, out.String(), c.want)
		}
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	printTable(&out, []caseResult{{Case: Case{Name: "x"}, proxies: []proxyResult{rounds("lintel", 10.04)}}})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if got := strings.Join(strings.Fields(lines[len(lines)-1]), " "); got != "x lintel 10.0 1000 1 % – 10.04 5.02 2.0" {
		t.Errorf("row is %q", got)
	}
}

func TestTableLeavesOutWhatWasNotMeasured(t *testing.T) {
	var out strings.Builder
	printTable(&out, []caseResult{
		{Case: Case{Name: "x", Idle: true}, proxies: []proxyResult{{name: "lintel", rss: 2048}}},
		{Case: Case{Name: "y", Slow: 1}, proxies: []proxyResult{{name: "lintel", rss: 2048, samples: rounds("", 20).samples, alone: rounds("", 10).samples, elsewhere: rounds("", 15).samples}}},
	})
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n")[1:] {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{"x lintel – – – – – – 2.0", "y lintel 10.0 1000 1 % – 10.00 5.00 –", "y lintel, slow elsewhere 15.0 1000 2 % – 15.00 7.50 –", "y lintel with slow 20.0 1000 2 % – 20.00 10.00 2.0"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("rows are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestChoose(t *testing.T) {
	all := []string{"a", "b", "c"}
	same := func(s string) string { return s }
	got, err := choose("letter", splitNames("c,a"), all, same)
	if err != nil || strings.Join(got, "") != "ac" {
		t.Errorf("chose %v, %v; want a and c, in the order of all", got, err)
	}
	if got, err := choose("letter", splitNames(""), all, same); err != nil || len(got) != 3 {
		t.Errorf("nothing wanted: chose %v, %v; want all", got, err)
	}
	if _, err := choose("letter", splitNames("d"), all, same); err == nil || !strings.Contains(err.Error(), "a, b, c") {
		t.Errorf("unknown name: error %v should list the known ones", err)
	}
}
