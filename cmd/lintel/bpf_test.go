package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lintel-dev/lintel/bpf"
)

func TestStatesOfBPFFeatures(t *testing.T) {
	available := func() error { return nil }
	says := func(state string, err error) func() (string, error) {
		return func() (string, error) { return state, err }
	}
	features := []bpfFeature{
		{name: "on", probe: available, unpinned: says("on lo", nil)},
		{name: "off", probe: available, unpinned: says("", nil)},
		{name: "missing", probe: func() error { return bpf.Unavailable("the kernel has no %s", "such programs") }, unpinned: says("", errors.New("refused"))},
		{name: "left", probe: func() error { return bpf.Unavailable("this process does not have CAP_BPF") }, unpinned: says("since yesterday", nil)},
	}
	var out strings.Builder
	if err := writeBPFStatus(&out, features); err != nil {
		t.Fatal(err)
	}
	want := `FEATURE  STATE
on       active: on lo
off      off
missing  unavailable because the kernel has no such programs
left     active: since yesterday
`
	if out.String() != want {
		t.Errorf("status:\n%s\nwant:\n%s", &out, want)
	}
	broken := []bpfFeature{{name: "broken", probe: available, unpinned: says("", errors.New("no such link"))}}
	if err := writeBPFStatus(&out, broken); err == nil || !strings.Contains(err.Error(), "look at broken: no such link") {
		t.Errorf("an error is %v", err)
	}
}

func TestDetachKnowsItsFeatures(t *testing.T) {
	var known []string
	for _, f := range bpfFeatures() {
		known = append(known, f.name)
	}
	var out strings.Builder
	err := detachBPF(&out, bpfFeatures(), []string{known[0], "socketlb"})
	want := fmt.Sprintf(`there is no eBPF feature "socketlb"; there are: %s`, strings.Join(known, ", "))
	if err == nil || err.Error() != want || out.Len() > 0 {
		t.Errorf("detach: %v, %q, want %s and nothing done", err, out.String(), want)
	}
}
