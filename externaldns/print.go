package externaldns

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Print writes a Plan as a person reads it: a line for each record, with + for what is
// made, ~ for what changes, - for what is deleted, ! for deletions that wait to be
// released, and ? for wanted records that are not made, with the reason.
func (p *Plan) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range p.Create {
		fmt.Fprintf(w, "+\t%s\t%s\t%s\n", r.Name, r.Type, details(r))
	}
	for _, u := range p.Update {
		fmt.Fprintf(w, "~\t%s\t%s\t%s\tinstead of %s\n", u.New.Name, u.New.Type, details(u.New), details(u.Old))
	}
	for _, r := range p.Delete {
		fmt.Fprintf(w, "-\t%s\t%s\t%s\n", r.Name, r.Type, details(r))
	}
	for _, r := range p.Held {
		fmt.Fprintf(w, "!\t%s\t%s\t%s\n", r.Name, r.Type, details(r))
	}
	for _, f := range p.Findings {
		fmt.Fprintf(w, "?\t%s\t%s\t%s\t%s: %s\n", f.Record.Name, f.Record.Type, details(f.Record), f.Kind, f.Reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, p.summary())
	return err
}

func (p *Plan) summary() string {
	s := fmt.Sprintf("%d to create, %d to change, %d to delete, of %d that are ours", len(p.Create), len(p.Update), len(p.Delete), p.Owned)
	if len(p.Create)+len(p.Update)+len(p.Delete) == 0 && p.Empty() {
		s = fmt.Sprintf("nothing to do; %d records are ours", p.Owned)
	}
	if len(p.Held) > 0 {
		s += fmt.Sprintf("; %d deletions wait to be released as %s", len(p.Held), p.HeldID)
	}
	if len(p.Findings) > 0 {
		s += fmt.Sprintf("; %d can't be made", len(p.Findings))
	}
	return s
}

// details are a record's targets, and what else it says.
func details(r Record) string {
	s := ""
	for i, target := range r.Targets {
		if i > 0 {
			s += ", "
		}
		s += target
	}
	if r.TTL > 0 {
		s += fmt.Sprintf(" (TTL %d)", int(r.TTL/time.Second))
	}
	if r.Proxied == ProxiedYes {
		s += " (proxied)"
	}
	return s
}
