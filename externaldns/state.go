package externaldns

import "maps"

// StateKey names a wanted record: a name and type may be wanted by several resources.
type StateKey struct{ Name, Type, Resource string }

// Stage is how far a wanted record has come.
type Stage int

// Stages.
const (
	Pending Stage = iota // not looked at yet
	Ready                // it is there as wanted
	Refused              // it is not made, for a reason that waiting does not mend
	Failed               // the provider did not take it; it is tried again
	Planned              // it would be made, were this no dry run
)

// String is a word for metrics and conditions.
func (s Stage) String() string {
	return [...]string{"pending", "ready", "refused", "failed", "planned"}[s]
}

// State is how a wanted record fares.
type State struct {
	Stage  Stage
	Kind   FindingKind // of Refused
	Cause  Cause       // of Failed
	Reason string      // for people; empty when Ready
	Zone   string      // that it is in; empty when that is not known
	// Unread says that nothing is known of the record this time, because its zone could not be
	// read.
	Unread bool
}

func keyOf(r Record) StateKey { return StateKey{r.Name, r.Type, r.Resource} }

// states are all wanted records' after a round.
func (r reading) states(want []Record, plan *Plan, unread map[string][]Record, failed map[Key]error, round Round) map[StateKey]State {
	result := map[StateKey]State{}
	for _, record := range want {
		result[keyOf(record.Canonical())] = State{Stage: Ready}
	}
	if round.DryRun {
		for _, record := range planned(plan) {
			result[keyOf(record)] = State{Stage: Planned, Reason: "this is a dry run"}
		}
	}
	for zone, records := range unread {
		err := r.failed[zone]
		for _, record := range records {
			result[keyOf(record)] = State{Stage: Failed, Cause: CauseOf(err), Reason: ErrUnreadable.Error() + ": " + err.Error(), Unread: true}
		}
	}
	for key := range result {
		if err := failed[Key{key.Name, key.Type}]; err != nil {
			result[key] = State{Stage: Failed, Cause: CauseOf(err), Reason: err.Error()}
		}
	}
	for _, f := range plan.Findings {
		result[keyOf(f.Record)] = State{Stage: Refused, Kind: f.Kind, Reason: f.Reason}
	}
	for key, state := range result {
		zone, _ := zoneOf(r.all, key.Name)
		state.Zone = zone.Name
		result[key] = state
	}
	return result
}

func planned(plan *Plan) []Record {
	all := append([]Record{}, plan.Create...)
	for _, u := range plan.Update {
		all = append(all, u.New)
	}
	return all
}

// States returns how each wanted record fares. It is safe for concurrent use, and the
// caller's to keep.
func (r *Reconciler) States() map[StateKey]State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.states)
}
