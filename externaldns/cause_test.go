package externaldns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"testing"
	"time"
)

// answer is an error of a provider that says what is behind it.
type answer struct{ denied, lasting bool }

func (answer) Error() string   { return "no" }
func (a answer) Denied() bool  { return a.denied }
func (a answer) Lasting() bool { return a.lasting }

func TestErrorsAreCountedByTheirCauses(t *testing.T) {
	err := errors.Join(
		fmt.Errorf("read zone: %w", &WaitError{After: time.Second, Err: answer{}}),
		fmt.Errorf("change zone: %w", Failures{1: answer{lasting: true}, 4: fmt.Errorf("x: %w", answer{lasting: true})}),
		answer{denied: true, lasting: true}, answer{}, fmt.Errorf("ask: %w", &net.OpError{Op: "dial", Err: io.EOF}), context.DeadlineExceeded,
		errors.New("strange"),
	)
	want := map[Cause]int{CauseWait: 1, CauseRefused: 2, CauseDenied: 1, CauseServer: 1, CauseUnreachable: 2, CauseOther: 1}
	if got := Causes(err); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Causes(nil); len(got) > 0 {
		t.Errorf("of nothing: %v", got)
	}
}
