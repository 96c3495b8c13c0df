package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// caseResult is what was found in a case. Lintel comes first, unless it failed.
type caseResult struct {
	Case
	rate    float64 // requests per second that were sent to each; 0: as many as got answered
	proxies []proxyResult
}

// proxyResult has a sample for each round.
type proxyResult struct {
	name    string
	samples []sample
	// Of the same rounds, without the slow clients of the case, and with those at another
	// program.
	alone, elsewhere []sample
	rss              int // KiB
}

// median returns the middle one of some values, or the mean of the middle two; 0 of
// none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// medianOf returns the median of what f says of the rounds.
func (p proxyResult) medianOf(f func(sample) float64) float64 {
	var values []float64
	for _, s := range p.samples {
		values = append(values, f(s))
	}
	return median(values)
}

// ratio returns the median over the rounds of what f says of p, divided by what it
// says of q in the same round: both met the same noise.
func ratio(p, q proxyResult, f func(sample) float64) float64 {
	var values []float64
	for i := range min(len(p.samples), len(q.samples)) {
		if divisor := f(q.samples[i]); divisor > 0 {
			values = append(values, f(p.samples[i])/divisor)
		}
	}
	return median(values)
}

func cpuMicros(s sample) float64    { return float64(s.perRequest()) / float64(time.Microsecond) }
func p50Millis(s sample) float64    { return float64(s.p50) / float64(time.Millisecond) }
func p99Millis(s sample) float64    { return float64(s.p99) / float64(time.Millisecond) }
func steadyMillis(s sample) float64 { return float64(s.steady) / float64(time.Millisecond) }

// tooSlow is which part of the requests may be unsent at the end by chance.
const tooSlow = 0.01

// print writes the lines for machines.
func (r caseResult) print(out io.Writer) {
	for _, p := range r.proxies {
		fmt.Fprintf(out, "rss %s %s %d\n", r.Name, p.name, p.rss)
	}
	for _, p := range r.proxies {
		if p.medianOf(sample.unsentPart) > tooSlow {
			fmt.Fprintf(out, "note %s %s can't do the rate: requests waited for a connection until the end\n", r.Name, p.name)
		}
	}
	if r.Slow > 0 {
		for _, p := range r.proxies {
			p.printSlow(out, r.Name)
		}
	}
	if r.Idle || len(r.proxies) == 0 || r.proxies[0].name != lintelName {
		return
	}
	lintel := r.proxies[0]
	for _, p := range r.proxies[1:] {
		fmt.Fprintf(out, "ratio %s cpu lintel/%s %.2f\n", r.Name, p.name, ratio(lintel, p, cpuMicros))
		if r.rate > 0 { // without a rate, latency says only how many answers came
			fmt.Fprintf(out, "ratio %s p99 lintel/%s %.2f\n", r.Name, p.name, ratio(lintel, p, p99Millis))
		} else {
			fmt.Fprintf(out, "ratio %s rate lintel/%s %.2f\n", r.Name, p.name, ratio(lintel, p, sample.rate))
		}
	}
}

// printSlow writes what slow clients do to the latency of others.
func (p proxyResult) printSlow(out io.Writer, caseName string) {
	prefix := p.name + "-"
	if p.name == lintelName {
		prefix = ""
	}
	for _, than := range []struct {
		name    string
		samples []sample
	}{{"without", p.alone}, {"elsewhere", p.elsewhere}} {
		q := proxyResult{samples: than.samples}
		fmt.Fprintf(out, "ratio %s p99 %swith/%s%s %.2f\n", caseName, prefix, prefix, than.name, ratio(p, q, p99Millis))
		fmt.Fprintf(out, "ratio %s p99-steady %swith/%s%s %.2f\n", caseName, prefix, prefix, than.name, ratio(p, q, steadyMillis))
	}
}

// printTable writes all results for people.
func printTable(out io.Writer, results []caseResult) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "case\tproxy\tCPU µs/request\trequests/s\tcore busy\tp50 ms\tp99 ms\tsteady p99\tRSS MiB\t")
	for _, r := range results {
		for _, p := range r.proxies {
			name := p.name
			if r.Slow > 0 {
				printRow(w, r.Name, name, proxyResult{samples: p.alone})
				printRow(w, r.Name, name+", slow elsewhere", proxyResult{samples: p.elsewhere})
				name += " with slow"
			}
			printRow(w, r.Name, name, p)
		}
	}
	_ = w.Flush() // the terminal may be gone
}

func printRow(w io.Writer, caseName, name string, p proxyResult) {
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", caseName, name,
		shown("%.1f", p.medianOf(cpuMicros)), shown("%.0f", p.medianOf(sample.rate)), shown("%.0f %%", 100*p.medianOf(sample.busy)),
		shown("%.2f", p.medianOf(p50Millis)), shown("%.2f", p.medianOf(p99Millis)), shown("%.2f", p.medianOf(steadyMillis)), shown("%.1f", float64(p.rss)/1024))
}

// shown leaves out what was not measured.
func shown(format string, value float64) string {
	if value == 0 {
		return "–"
	}
	return fmt.Sprintf(format, value)
}

// oneLine makes an error fit into a line for machines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
