package gateway

import (
	"fmt"
	"strings"
)

// The API bounds how many parents the status of a Route has, and how many ancestors that
// of a policy; all controllers share the room.
const (
	maxParents   = 32 // RouteStatus.parents
	maxAncestors = 16 // PolicyStatus.ancestors
)

// reasonNoRoom is why the status of an object does not tell all that there is to tell.
const reasonNoRoom = "StatusFull"

// fit chooses the entries of a status that there is room for: first those that are shown
// already, and then the others, each in their order. So none comes and goes because of
// others. Of a status with fewer entries than room it returns entries itself.
func fit[T any](entries []T, room int, isShown func(T) bool) (shown, left []T) {
	if len(entries) <= room {
		return entries, nil
	}
	chosen := make([]bool, len(entries))
	for _, already := range []bool{true, false} {
		for i, e := range entries {
			if room > 0 && !chosen[i] && isShown(e) == already {
				chosen[i] = true
				room--
			}
		}
	}
	for i, e := range entries {
		if chosen[i] {
			shown = append(shown, e)
		} else {
			left = append(left, e)
		}
	}
	return shown, left
}

// reportFull reports the entries that the status of an object has no room for.
func (b *build) reportFull(object ObjectRef, field string, limit int, left []string) {
	if len(left) > 0 {
		b.report(Problem{object, field, reasonNoRoom, fmt.Sprintf(
			"holds %d entries, those of other controllers included, and has no room for %s; make several objects of this one", limit, strings.Join(left, ", "))})
	}
}
