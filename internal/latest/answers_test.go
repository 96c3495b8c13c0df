package latest

import (
	"maps"
	"testing"
)

func TestAnswers(t *testing.T) {
	a := NewAnswers[int]()
	changed := func() bool {
		select {
		case <-a.Changed():
			return true
		default:
			return false
		}
	}
	if changed() || len(a.All()) != 0 {
		t.Error("there are answers before any was set")
	}
	a.Set(map[int]string{1: "no"})
	a.Set(map[int]string{1: "no", 2: ""})
	if got := a.All(); !maps.Equal(got, map[int]string{1: "no", 2: ""}) {
		t.Errorf("answers: %v", got)
	}
	if !changed() || changed() {
		t.Error("two changes are not one to read")
	}
	if a.Set(map[int]string{1: "no", 2: ""}); changed() {
		t.Error("the same answers are a change")
	}
	a.All()[1] = "yes"
	if got := a.All()[1]; got != "no" {
		t.Errorf("a reader changed an answer to %q", got)
	}
}
