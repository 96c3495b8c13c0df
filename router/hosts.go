package router

import (
	"iter"
	"strings"
)

// hostIndex finds values by hostname pattern.
type hostIndex[T any] struct {
	exact    map[string]*T
	oneLabel map[string]*T // by what follows the star, dot included
	wildcard map[string]*T // likewise
	longest  int           // bytes of the longest key in wildcard
	any      *T            // of the hostname ""
}

// hostName is a hostname pattern; oneLabel counts for wildcards alone.
type hostName struct {
	host     string
	oneLabel bool
}

// newHostIndex returns an index with room for as many names as like has.
func newHostIndex[T any](like *hostIndex[T]) *hostIndex[T] {
	return &hostIndex[T]{
		exact:    emptyLike(like.exact),
		oneLabel: emptyLike(like.oneLabel),
		wildcard: emptyLike(like.wildcard),
	}
}

// emptyLike returns an empty map, or nil where like is empty: most Listeners have
// few names of one kind.
func emptyLike[T any](like map[string]*T) map[string]*T {
	if len(like) == 0 {
		return nil
	}
	return make(map[string]*T, len(like))
}

// get returns the value of a pattern, or nil.
func (x *hostIndex[T]) get(n hostName) *T {
	suffix, isWildcard := strings.CutPrefix(n.host, "*")
	switch {
	case n.host == "":
		return x.any
	case !isWildcard:
		return x.exact[n.host]
	case n.oneLabel:
		return x.oneLabel[suffix]
	default:
		return x.wildcard[suffix]
	}
}

// put sets the value of a pattern.
func (x *hostIndex[T]) put(n hostName, v *T) {
	suffix, isWildcard := strings.CutPrefix(n.host, "*")
	switch {
	case n.host == "":
		x.any = v
	case !isWildcard:
		putName(&x.exact, n.host, v)
	case n.oneLabel:
		putName(&x.oneLabel, suffix, v)
	default:
		putName(&x.wildcard, suffix, v)
		x.longest = max(x.longest, len(suffix))
	}
}

func putName[T any](names *map[string]*T, name string, v *T) {
	if *names == nil {
		*names = make(map[string]*T)
	}
	(*names)[name] = v
}

// all yields every value and its pattern, in no order.
func (x *hostIndex[T]) all() iter.Seq2[hostName, *T] {
	return func(yield func(hostName, *T) bool) {
		for host, v := range x.exact {
			if !yield(hostName{host: host}, v) {
				return
			}
		}
		for suffix, v := range x.oneLabel {
			if !yield(hostName{"*" + suffix, true}, v) {
				return
			}
		}
		for suffix, v := range x.wildcard {
			if !yield(hostName{host: "*" + suffix}, v) {
				return
			}
		}
		if x.any != nil {
			yield(hostName{}, x.any)
		}
	}
}

// candidates yields the values whose patterns match host, the most specific first:
// the host itself, a wildcard for exactly its first label, wildcards from the
// longest suffix to the shortest, and the pattern that matches any host.
func (x *hostIndex[T]) candidates(host string) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		if v := x.exact[host]; v != nil && !yield(v) {
			return
		}
		if len(x.oneLabel) > 0 {
			if dot := strings.IndexByte(host, '.'); dot > 0 {
				if v := x.oneLabel[host[dot:]]; v != nil && !yield(v) {
					return
				}
			}
		}
		if len(x.wildcard) > 0 {
			for dot := nextDot(host, max(1, len(host)-x.longest)); dot < len(host); dot = nextDot(host, dot+1) {
				if v := x.wildcard[host[dot:]]; v != nil && !yield(v) {
					return
				}
			}
		}
		if x.any != nil {
			yield(x.any)
		}
	}
}

// nextDot returns the index of the first dot of host at from or after it, or the
// length of host.
func nextDot(host string, from int) int {
	if from >= len(host) {
		return len(host)
	}
	if i := strings.IndexByte(host[from:], '.'); i >= 0 {
		return from + i
	}
	return len(host)
}
