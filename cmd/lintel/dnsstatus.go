package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lintel-dev/lintel/externaldns"
	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/kube"
	"github.com/lintel-dev/lintel/observe"
)

// maxNamed is how many records a condition names.
const maxNamed = 8

// dnsWanted is what the last Plan wants. It is never changed.
type dnsWanted struct {
	records []externaldns.Record
	// objects are those that want them, and their Gateways, by what marks say of them.
	objects map[string]gateway.ObjectRef
	// keys are the records of each object, in their order.
	keys map[string][]externaldns.StateKey
}

func newDNSWanted(records []externaldns.Record, objects map[string]gateway.ObjectRef) *dnsWanted {
	w := &dnsWanted{records: records, objects: objects, keys: make(map[string][]externaldns.StateKey)}
	for i := range records {
		r := &records[i]
		key := externaldns.StateKey{Name: r.Name, Type: r.Type, Resource: r.Resource}
		if keys := w.keys[r.Resource]; len(keys) == 0 || keys[len(keys)-1] != key { // they are sorted
			w.keys[r.Resource] = append(keys, key)
		}
	}
	return w
}

// recordsStates says how the records of each object of the last Plan fare. One whose records
// were not looked at since they changed keeps what was said before.
func (c *dnsCare) recordsStates() map[gateway.ObjectRef]gateway.RecordsState {
	all := make(map[gateway.ObjectRef]gateway.RecordsState)
	if c.plan == nil {
		return all
	}
	states, wanted := c.reconciler.States(), c.want.Load()
	for i := range c.plan.Names {
		n := &c.plan.Names[i]
		was, shown := c.shown[n.Object]
		now, known := summarize(wanted.keys[dnsResource(n.Object)], states)
		now.Generation, now.Hostnames = n.Generation, n.Hostnames
		switch {
		case known == summaryFresh, known == summaryStale && !shown:
			all[n.Object] = now
		case shown:
			all[n.Object] = was
		}
	}
	c.shown = all
	return all
}

// summary is how much is known of the records of an object.
type summary int

const (
	summaryPending summary = iota // not looked at yet
	summaryStale                  // not to be seen this time
	summaryFresh
)

// summarize says in a condition how records fare. It says the same as long as they do: what
// differs with each attempt is in the log.
func summarize(keys []externaldns.StateKey, states map[externaldns.StateKey]externaldns.State) (gateway.RecordsState, summary) {
	var ready, planned, lacking []string
	var reason string
	known := summaryFresh
	for _, key := range keys {
		state, found := states[key]
		name := key.Name + " " + key.Type
		switch {
		case !found || state.Stage == externaldns.Pending:
			return gateway.RecordsState{}, summaryPending
		case state.Stage == externaldns.Ready:
			ready = append(ready, name)
		case state.Stage == externaldns.Planned:
			planned = append(planned, name)
		case state.Stage == externaldns.Refused && state.Kind == externaldns.Filtered: // as the settings say
		case state.Stage == externaldns.Refused:
			reason = cmp.Or(reason, findingReason(state.Kind))
			lacking = append(lacking, name+": "+state.Reason)
		default:
			reason = cmp.Or(reason, "Failed")
			lacking = append(lacking, name+": "+failureText(state))
			if state.Unread {
				known = summaryStale
			}
		}
	}
	switch {
	case len(lacking) > 0:
		return gateway.RecordsState{Ready: metav1.ConditionFalse, Reason: reason, Message: few(lacking, "; ")}, known
	case len(planned) > 0:
		return gateway.RecordsState{Ready: metav1.ConditionUnknown, Reason: "DryRun", Message: "they would be made, were this no dry run (setting dns-dry-run): " + few(planned, ", ")}, known
	case len(ready) > 0:
		return gateway.RecordsState{Ready: metav1.ConditionTrue, Reason: "Ready", Message: few(ready, ", ")}, known
	}
	return gateway.RecordsState{}, known
}

// few joins some of many texts.
func few(texts []string, separator string) string {
	if more := len(texts) - maxNamed; more > 0 {
		return strings.Join(texts[:maxNamed], separator) + fmt.Sprintf("%sand %d more", separator, more)
	}
	return strings.Join(texts, separator)
}

// findingReason is a word for conditions and Events.
func findingReason(kind externaldns.FindingKind) string {
	return map[externaldns.FindingKind]string{
		externaldns.Invalid: "Invalid", externaldns.Filtered: "Filtered", externaldns.NoZone: "NoZone",
		externaldns.Foreign: "Foreign", externaldns.Conflict: "Conflict", externaldns.Withheld: "Withheld",
	}[kind]
}

// failureText says why a record failed, alike for every attempt with the same cause.
func failureText(state externaldns.State) string {
	if state.Cause == externaldns.CauseRefused {
		return state.Reason
	}
	text := map[externaldns.Cause]string{
		externaldns.CauseWait: "the DNS provider asks for patience", externaldns.CauseDenied: "the DNS provider does not take the credential (setting dns-credential)",
		externaldns.CauseCredential: "a credential can't be read (settings dns-credential and dns-mark-key)", externaldns.CauseUnreachable: "the DNS provider can't be reached",
		externaldns.CauseServer: "the DNS provider fails",
	}[state.Cause]
	return cmp.Or(text, "it could not be made or looked up") + "; it is tried again, and the log says more"
}

// report is called after each round: it tells the log, metrics and Events how records fare.
func (c *dnsCare) report(round externaldns.Round) {
	states := c.reconciler.States()
	counts := make(map[observe.DNSRecords]int)
	for _, key := range slices.SortedFunc(maps.Keys(states), func(a, b externaldns.StateKey) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Resource, b.Resource))
	}) {
		state := states[key]
		counts[observe.DNSRecords{Zone: state.Zone, State: state.Stage.String()}]++
		c.tell(key, state)
	}
	c.told = states
	held := 0
	if plan := round.Plan; plan != nil {
		held = len(plan.Held)
		if round.DryRun {
			c.tellPlan(plan)
		} else {
			c.tellChanges(plan, states)
		}
	}
	causes := make(map[string]int)
	for cause, n := range externaldns.Causes(round.Err) {
		causes[string(cause)] = n
	}
	c.metrics.ObserveDNS(observe.DNSRound{At: round.At, Failed: round.Err != nil, Records: counts, Held: held, Errors: causes})
}

// tell says what is new about a record that is not as it is wanted. What the settings leave
// out, and that nothing could be read, is no news of a single one.
func (c *dnsCare) tell(key externaldns.StateKey, state externaldns.State) {
	was := c.told[key]
	switch {
	case state.Stage == externaldns.Refused && (was.Stage != externaldns.Refused || was.Kind != state.Kind || was.Reason != state.Reason):
		c.log.Warn("DNS record is not made", "name", key.Name, "type", key.Type, "object", key.Resource, "kind", state.Kind.String(), "why", state.Reason)
		if state.Kind != externaldns.Filtered {
			c.tellObject(key.Resource, kube.Event{Warning: true, Reason: "DNSRecordRefused", Message: key.Name + " " + key.Type + ": " + state.Kind.String() + ": " + state.Reason})
		}
	case state.Stage == externaldns.Failed && !state.Unread && (was.Stage != externaldns.Failed || was.Cause != state.Cause):
		c.tellObject(key.Resource, kube.Event{Warning: true, Reason: "DNSRecordFailed", Message: key.Name + " " + key.Type + ": " + failureText(state)})
	}
}

// tellChanges writes Events of what a round has made.
func (c *dnsCare) tellChanges(plan *externaldns.Plan, states map[externaldns.StateKey]externaldns.State) {
	made := func(reason string, r externaldns.Record) {
		if states[externaldns.StateKey{Name: r.Name, Type: r.Type, Resource: r.Resource}].Stage == externaldns.Ready {
			c.tellObject(r.Resource, kube.Event{Reason: reason, Message: r.String()})
		}
	}
	for _, r := range plan.Create {
		made("DNSRecordCreated", r)
	}
	for _, u := range plan.Update {
		made("DNSRecordChanged", u.New)
	}
}

// tellObject writes an Event on the object that marks call so. It may be called from any
// goroutine.
func (c *dnsCare) tellObject(resource string, e kube.Event) {
	wanted := c.want.Load()
	if wanted == nil {
		return
	}
	if object, known := wanted.objects[resource]; known {
		e.Object = object
		c.event(e)
	}
}
