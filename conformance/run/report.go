package main

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// report is the part of a ConformanceReport that is compared.
type report struct {
	Profiles []profile `json:"profiles"`
}

type profile struct {
	Name     string   `json:"name"`
	Core     outcome  `json:"core"`
	Extended extended `json:"extended"`
}

type outcome struct {
	Result     string `json:"result"`
	Statistics struct {
		Passed  int `json:"Passed"`
		Skipped int `json:"Skipped"`
		Failed  int `json:"Failed"`
	} `json:"statistics"`
	SkippedTests []string `json:"skippedTests"`
	FailedTests  []string `json:"failedTests"`
}

type extended struct {
	outcome
	SupportedFeatures   []string `json:"supportedFeatures"`
	UnsupportedFeatures []string `json:"unsupportedFeatures"`
}

func parseReport(content []byte) (report, error) {
	var r report
	if err := yaml.Unmarshal(content, &r); err != nil {
		return report{}, fmt.Errorf("read report: %w", err)
	}
	return r, nil
}

// worseThan says in what r is worse than an earlier report: fewer tests passed, a
// test failed or was skipped that was not before, a feature gone.
func (r report) worseThan(before report) []string {
	var worse []string
	for _, old := range before.Profiles {
		i := slices.IndexFunc(r.Profiles, func(p profile) bool { return p.Name == old.Name })
		if i < 0 {
			worse = append(worse, "profile "+old.Name+" is missing")
			continue
		}
		fresh := r.Profiles[i]
		worse = append(worse, fresh.Core.worseThan(old.Core, old.Name+" core")...)
		worse = append(worse, fresh.Extended.worseThan(old.Extended.outcome, old.Name+" extended")...)
		for _, feature := range old.Extended.SupportedFeatures {
			if !slices.Contains(fresh.Extended.SupportedFeatures, feature) {
				worse = append(worse, fmt.Sprintf("%s: feature %s is not supported any more", old.Name, feature))
			}
		}
	}
	return worse
}

func (o outcome) worseThan(before outcome, what string) []string {
	var worse []string
	if o.Statistics.Passed < before.Statistics.Passed {
		worse = append(worse, fmt.Sprintf("%s: %d tests passed, and %d did before", what, o.Statistics.Passed, before.Statistics.Passed))
	}
	for _, name := range o.FailedTests {
		if !slices.Contains(before.FailedTests, name) {
			worse = append(worse, fmt.Sprintf("%s: %s failed", what, name))
		}
	}
	for _, name := range o.SkippedTests {
		if !slices.Contains(before.SkippedTests, name) {
			worse = append(worse, fmt.Sprintf("%s: %s was skipped", what, name))
		}
	}
	return worse
}

// String has a line a profile.
func (r report) String() string {
	var b strings.Builder
	for _, p := range r.Profiles {
		all := len(p.Extended.SupportedFeatures) + len(p.Extended.UnsupportedFeatures)
		fmt.Fprintf(&b, "%s: core %s, extended %s, %d of %d extended features\n",
			p.Name, p.Core, p.Extended.outcome, len(p.Extended.SupportedFeatures), all)
	}
	return b.String()
}

func (o outcome) String() string {
	s := fmt.Sprintf("%d passed", o.Statistics.Passed)
	if o.Statistics.Failed > 0 {
		s += fmt.Sprintf(", %d failed", o.Statistics.Failed)
	}
	if o.Statistics.Skipped > 0 {
		s += fmt.Sprintf(", %d skipped", o.Statistics.Skipped)
	}
	return s
}
