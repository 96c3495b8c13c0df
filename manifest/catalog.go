package manifest

import (
	"crypto/sha1"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lintel-dev/lintel/gateway"
)

// catalog is the set of objects that serve. It belongs to one goroutine; what it
// hands out is immutable.
type catalog struct {
	entries map[gateway.ObjectRef]*entry // update makes another map, of entries that stay as they are
	order   []gateway.ObjectRef          // of entries: by file, line and place in a List
	implied map[string]*corev1.Namespace
	// seen outlives the objects, so that one that comes back is older than what
	// came after it, and no generation stands for two contents.
	seen map[gateway.ObjectRef]history
}

// entry is an object that serves, and the text that it is from, or the newer one
// that was refused.
type entry struct {
	kind   *kind
	object object
	place  place
}

// place is where an object is declared.
type place struct {
	file string
	doc  *document
	item *item
}

func (p place) line() int { return p.doc.line + p.item.line - 1 }

// history is what is remembered of an object.
type history struct {
	created    metav1.Time
	generation int64
}

// creation returns the creation time of an object that does not say it and before
// which n others were seen. They were "created" one second apart, so that the order
// of the files decides where the specifications say that the oldest wins, alike in
// every run.
func creation(n int) metav1.Time {
	first := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	return metav1.NewTime(first.Add(time.Duration(n) * time.Second))
}

func newCatalog() *catalog {
	return &catalog{
		entries: make(map[gateway.ObjectRef]*entry),
		implied: make(map[string]*corev1.Namespace),
		seen:    make(map[gateway.ObjectRef]history),
	}
}

// update takes over the objects of the files and returns what changed, and the
// problems of objects that are declared twice.
func (c *catalog) update(files []*file) (gateway.Change, []Problem) {
	places, order, problems := declared(files)
	unread := make(map[string]bool)
	for _, f := range files {
		unread[f.path] = f.unread()
	}
	next := make(map[gateway.ObjectRef]*entry, len(places))
	for _, ref := range order {
		if e := c.adopt(ref, places[ref]); e != nil {
			next[ref] = e
		}
	}
	for _, ref := range c.order {
		if e := c.entries[ref]; places[ref].item == nil && unread[e.place.file] {
			next[ref] = e
			order = append(order, ref)
		}
	}
	change := compareEntries(c.entries, next)
	c.entries = next
	c.order = slices.DeleteFunc(order, func(ref gateway.ObjectRef) bool { return next[ref] == nil })
	if c.implyNamespaces() {
		change.Objects = true
	}
	return change, problems
}

// declared returns the place of every object, in order. The first place of an
// object counts, and the others are problems.
func declared(files []*file) (places map[gateway.ObjectRef]place, order []gateway.ObjectRef, problems []Problem) {
	places = make(map[gateway.ObjectRef]place)
	for _, f := range files {
		for _, doc := range f.docs {
			for _, it := range doc.items {
				if it.kind == nil || it.ref.Name == "" {
					continue
				}
				p := place{f.path, doc, it}
				if first, double := places[it.ref]; double {
					problems = append(problems, Problem{
						File: f.path, Line: p.line(), Object: it.ref,
						Message: fmt.Sprintf("already declared at %s:%d", first.file, first.line()),
					})
					continue
				}
				places[it.ref] = p
				order = append(order, it.ref)
			}
		}
	}
	return places, order, problems
}

// adopt returns the entry for an object that is declared at p: with what is
// declared, if it is good, or else with what served before; nil if neither is.
func (c *catalog) adopt(ref gateway.ObjectRef, p place) *entry {
	old := c.entries[ref]
	switch {
	case p.item.object == nil && old == nil:
		return nil
	case p.item.object == nil:
		return &entry{old.kind, old.object, p}
	case old != nil && old.object == p.item.object:
		return &entry{old.kind, old.object, p}
	}
	o := p.item.object
	if o.GetUID() == uidOf(ref) {
		o = o.DeepCopyObject().(object) // it served before and may still be in use
	}
	h, known := c.seen[ref]
	if !known {
		h.created = creation(len(c.seen))
	}
	stamp(o, ref, h)
	if old != nil && reflect.DeepEqual(o, old.object) {
		p.item.object = old.object // only the comments or the layout changed
		return &entry{old.kind, old.object, p}
	}
	h.generation++
	o.SetGeneration(h.generation)
	c.seen[ref] = h
	p.item.object = o
	return &entry{p.item.kind, o, p}
}

// compareEntries tells what changed from one set of entries to another.
func compareEntries(old, now map[gateway.ObjectRef]*entry) gateway.Change {
	var change gateway.Change
	services := make(map[types.NamespacedName]bool)
	note := func(o object) {
		if slice, ok := o.(*discoveryv1.EndpointSlice); ok {
			services[serviceOf(slice)] = true
		} else {
			change.Objects = true
		}
	}
	for ref, e := range now {
		if before := old[ref]; before == nil {
			note(e.object)
		} else if before.object != e.object {
			note(before.object)
			note(e.object)
		}
	}
	for ref, e := range old {
		if now[ref] == nil {
			note(e.object)
		}
	}
	change.Services = slices.Collect(maps.Keys(services))
	return change
}

// serviceOf names the Service that a slice belongs to.
func serviceOf(slice *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}
}

// implyNamespaces makes a Namespace for each that is used and not declared, and
// reports whether the set changed.
func (c *catalog) implyNamespaces() (changed bool) {
	used := make(map[string]bool)
	for ref := range c.entries {
		if ref.Namespace != "" {
			used[ref.Namespace] = true
		}
	}
	for name := range used {
		ref := gateway.ObjectRef{Kind: "Namespace", Name: name}
		if c.entries[ref] != nil {
			delete(used, name)
		} else if c.implied[name] == nil {
			n := namespace(name)
			stamp(n, ref, history{created: creation(0), generation: c.seen[ref].generation})
			n.Generation++
			c.implied[name] = n
			c.seen[ref] = history{n.CreationTimestamp, n.Generation}
			changed = true
		}
	}
	for name := range c.implied {
		if !used[name] {
			delete(c.implied, name)
			changed = true
		}
	}
	return changed
}

// snapshot returns the objects and the EndpointSlices by Service.
func (c *catalog) snapshot() (*gateway.Snapshot, map[types.NamespacedName][]*discoveryv1.EndpointSlice) {
	snapshot := new(gateway.Snapshot)
	endpoints := make(map[types.NamespacedName][]*discoveryv1.EndpointSlice)
	for _, ref := range c.order {
		e := c.entries[ref]
		if slice, ok := e.object.(*discoveryv1.EndpointSlice); ok {
			endpoints[serviceOf(slice)] = append(endpoints[serviceOf(slice)], slice)
		} else {
			e.kind.add(snapshot, e.object)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.implied)) {
		snapshot.Namespaces = append(snapshot.Namespaces, c.implied[name])
	}
	return snapshot, endpoints
}

// stamp sets the metadata that an API server would own.
func stamp(o object, ref gateway.ObjectRef, h history) {
	o.SetUID(uidOf(ref))
	o.SetGeneration(h.generation)
	o.SetResourceVersion("")
	o.SetManagedFields(nil)
	o.SetSelfLink("")
	if created := o.GetCreationTimestamp(); created.IsZero() {
		o.SetCreationTimestamp(h.created)
	}
}

// uidSpace is the name space of our version 5 UUIDs (RFC 9562, section 5.5).
const uidSpace = "lintel.dev/manifest/"

// uidOf derives the UID of an object from its name, so that it is the same in
// every run.
func uidOf(ref gateway.ObjectRef) types.UID {
	sum := sha1.Sum([]byte(uidSpace + ref.Kind + "/" + ref.Namespace + "/" + ref.Name))
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]))
}

// compareFiles orders files as their objects are read.
func compareFiles(a, b *file) int { return strings.Compare(a.path, b.path) }
