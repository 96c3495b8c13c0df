package socketlb

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// table is what programs look addresses up in, and what it is known to hold. One
// goroutine at a time may use it.
type table struct {
	services  *ebpf.Map
	endpoints *ebpf.Map
	places    *ebpf.Map
	nextList  uint64 // the number of the next list; none was ever used twice
	current   map[address]*entry

	was       Services                       // that was applied last
	flat      map[string]map[address]backing // of these
	claimants map[address][]string           // the Services that have the address, sorted; the first gets it
	left      map[address]bool               // addresses that did not get in
}

// entry is an address that the map of Services has.
type entry struct {
	backing
	list *list
}

// list is a list of endpoints that the map has.
type list struct {
	number uint64
	length uint32
	places []netip.AddrPort // those that can be looked for, as clients stay
	users  int              // entries
}

// apply makes the maps hold what is wanted. When it returns, no socket call that begins
// gets another endpoint. The error says which Services could not be written, and are not
// served; they are tried again with every call.
func (t *table) apply(want Services) error {
	affected := t.claim(want)
	for a := range t.left { // they are tried again
		affected[a] = true
	}
	t.left = make(map[address]bool)
	var errs []error
	var writes []address
	for a := range affected {
		if len(t.claimants[a]) > 0 {
			writes = append(writes, a)
		} else if err := t.remove(a); err != nil {
			t.left[a] = true
			errs = append(errs, fmt.Errorf("remove %s: %w", a.at, err))
		}
	}
	slices.SortFunc(writes, func(a, b address) int {
		return cmp.Or(strings.Compare(t.claimants[a][0], t.claimants[b][0]), a.at.Compare(b.at), cmp.Compare(a.protocol, b.protocol))
	})
	shared := make(map[*netip.AddrPort]*list)
	again := slices.DeleteFunc(writes, func(a address) bool { return t.write(a, shared) == nil })
	// An update needs room for the old list and the new one. Where there was none, the
	// address is removed first: it is better not served than by endpoints that have gone.
	for _, a := range again {
		errs = append(errs, t.remove(a))
	}
	clear(shared)
	failed := make(map[string]error)
	for _, a := range again {
		if err := t.write(a, shared); err != nil {
			t.left[a] = true
			failed[t.claimants[a][0]] = err
		}
	}
	return errors.Join(append(errs, notWritten(failed))...)
}

// claim notes what is wanted, and returns the addresses that this changes.
func (t *table) claim(want Services) map[address]bool {
	affected := make(map[address]bool)
	if t.was == nil { // what another process left is not ours to keep
		t.flat, t.claimants = make(map[string]map[address]backing), make(map[address][]string)
		for a := range t.current {
			affected[a] = true
		}
	}
	for name := range t.was {
		if _, wanted := want[name]; !wanted {
			t.claimService(name, nil, affected)
		}
	}
	for name, ports := range want {
		if was, known := t.was[name]; !known || !sameSlice(was, ports) {
			t.claimService(name, flatten(ports), affected)
		}
	}
	t.was = want
	return affected
}

// claimService replaces what is wanted for one Service.
func (t *table) claimService(name string, flat map[address]backing, affected map[address]bool) {
	for a := range t.flat[name] {
		affected[a] = true
		if _, stays := flat[a]; !stays {
			t.claimants[a] = slices.DeleteFunc(t.claimants[a], func(n string) bool { return n == name })
			if len(t.claimants[a]) == 0 {
				delete(t.claimants, a)
			}
		}
	}
	for a := range flat {
		affected[a] = true
		if at, known := slices.BinarySearch(t.claimants[a], name); !known {
			t.claimants[a] = slices.Insert(t.claimants[a], at, name)
		}
	}
	t.flat[name] = flat
	if flat == nil {
		delete(t.flat, name)
	}
}

func sameSlice(a, b []Port) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// write makes an address hold what its Service wants. Addresses of one port share a list
// of endpoints: those that were written in this call are in shared.
func (t *table) write(a address, shared map[*netip.AddrPort]*list) error {
	want, was := t.flat[t.claimants[a][0]][a], t.current[a]
	if was != nil && was.equal(want) {
		return nil
	}
	l, err := t.hold(want, shared)
	if err != nil {
		return err
	}
	key, value := keyOf(a), lbService{List: l.number, Count: l.length, Affinity: want.affinity}
	if l.length > 0 {
		value.First = endpointOf(want.endpoints[0])
	}
	if err := t.services.Put(&key, &value); err != nil {
		clear(shared) // whoever comes next needs a list of its own, as this one may go
		t.release(l)
		return &writeError{in: t.services, what: "addresses of Services", cause: err}
	}
	t.current[a] = &entry{want, l}
	if was != nil {
		t.release(was.list)
	}
	return nil
}

// remove makes an address that of no Service.
func (t *table) remove(a address) error {
	was := t.current[a]
	if was == nil {
		return nil
	}
	key := keyOf(a)
	if err := t.services.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	delete(t.current, a)
	t.release(was.list)
	return nil
}

// hold returns a list of what is wanted that has one more user.
func (t *table) hold(want backing, shared map[*netip.AddrPort]*list) (*list, error) {
	var first *netip.AddrPort
	if len(want.endpoints) > 0 {
		first = &want.endpoints[0]
		if l := shared[first]; l != nil {
			l.users++
			return l, nil
		}
	}
	l := &list{number: t.nextList, users: 1}
	t.nextList++
	for _, e := range want.endpoints {
		if err := t.extend(l, e, want.affinity); err != nil {
			t.release(l)
			return nil, err
		}
	}
	if first != nil {
		shared[first] = l
	}
	return l, nil
}

// extend writes one more endpoint of a list.
func (t *table) extend(l *list, e netip.AddrPort, affinity uint32) error {
	slot, value := l.length, endpointOf(e)
	if err := t.endpoints.Put(&lbSlotKey{List: l.number, Slot: uint64(slot)}, &value); err != nil {
		return &writeError{in: t.endpoints, what: "endpoints", cause: err}
	}
	l.length++
	if affinity == 0 {
		return nil
	}
	place := lbPlaceKey{List: l.number, Endpoint: value}
	if err := t.places.Put(&place, &slot); err != nil {
		return &writeError{in: t.places, what: "endpoints with session affinity", cause: err}
	}
	l.places = append(l.places, e)
	return nil
}

// release takes a user from a list, and removes it after the last one.
func (t *table) release(l *list) {
	if l.users--; l.users > 0 {
		return
	}
	// These fail only if they are not there.
	for slot := range l.length {
		_ = t.endpoints.Delete(&lbSlotKey{List: l.number, Slot: uint64(slot)})
	}
	for _, e := range l.places {
		_ = t.places.Delete(&lbPlaceKey{List: l.number, Endpoint: endpointOf(e)})
	}
}

// writeError says that the kernel did not take an entry of a map.
type writeError struct {
	in    *ebpf.Map
	what  string // is in it
	cause error
}

func (e *writeError) Error() string { return "write " + e.what + ": " + e.cause.Error() }
func (e *writeError) Unwrap() error { return e.cause }

// namesShown is how many Services an error names.
const namesShown = 3

// notWritten says which Services are left out, and why.
func notWritten(failed map[string]error) error {
	var errs []error
	why := make(map[string][]string)
	for name, err := range failed {
		reason := err.Error()
		if full := (&writeError{}); errors.As(err, &full) && errors.Is(err, unix.E2BIG) {
			reason = fmt.Sprintf("the map of %s is full, which has room for %d", full.what, full.in.MaxEntries())
		}
		why[reason] = append(why[reason], name)
	}
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		names := slices.Sorted(slices.Values(why[reason]))
		more := ""
		if len(names) > namesShown {
			more = fmt.Sprintf(" and %d more", len(names)-namesShown)
			names = names[:namesShown]
		}
		errs = append(errs, fmt.Errorf("%s: these Services are reached as without socket-lb: %s%s", reason, strings.Join(names, ", "), more))
	}
	return errors.Join(errs...)
}
