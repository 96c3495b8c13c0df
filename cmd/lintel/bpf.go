package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lintel-dev/lintel/bpf"
	"github.com/lintel-dev/lintel/bpf/flows"
	"github.com/lintel-dev/lintel/bpf/hostports"
	"github.com/lintel-dev/lintel/bpf/socketlb"
)

// bpfFeature is a row of what lintel bpf knows. What it attaches is pinned in the folder
// of its name, unless it ends with its Lintel.
type bpfFeature struct {
	name string
	// probe says why the feature can't work here, if it can't.
	probe func() error
	// active says in a few words what is attached; "" says that nothing is. It is nil for
	// what is never pinned.
	active func(bpf.Pins) (string, error)
	// unpinned says the same of what is attached without pins, and ends with the Lintel that
	// attached it; nil is nothing.
	unpinned func() (string, error)
}

// bpfFeatures returns the rows in the order in which they are shown.
func bpfFeatures() []bpfFeature {
	return []bpfFeature{
		{name: socketlb.Feature, probe: func() error { return socketlb.Needs().Probe() }, active: socketlb.Active, unpinned: socketLBActive},
		{name: "flow-records", probe: func() error { return flows.Needs().Probe() }, unpinned: flowsActive},
		{name: "host-ports", probe: hostports.Probe, unpinned: hostports.Active},
	}
}

func newBPFCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bpf", Short: "See and remove what Lintel attached to this machine's kernel"}
	raise := func(*cobra.Command, []string) error { return raiseCapabilities() }
	cmd.AddCommand(&cobra.Command{
		Use:   "status",
		Short: "Say of each eBPF feature whether it is active, off, or why it is unavailable",
		Long: `Say of each eBPF feature whether it is active on this machine, off, or why it is
unavailable. In a container that is true of what the container may do and see.`,
		Args:    cobra.NoArgs,
		PreRunE: raise,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeBPFStatus(cmd.OutOrStdout(), bpfFeatures())
		},
	}, &cobra.Command{
		Use:   "detach [feature...]",
		Short: "Remove what eBPF features left attached; all of them unless some are named",
		Long: `Detach the programs of eBPF features from this machine, and remove what is pinned, also
when the Lintel that attached them has ended. A Lintel that runs goes on without them
until it is started again.`,
		PreRunE: raise,
		RunE: func(cmd *cobra.Command, names []string) error {
			return detachBPF(cmd.OutOrStdout(), bpfFeatures(), names)
		},
	})
	return cmd
}

func writeBPFStatus(w io.Writer, features []bpfFeature) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "FEATURE\tSTATE\n")
	for _, f := range features {
		state, err := f.state()
		if err != nil {
			return fmt.Errorf("look at %s: %w", f.name, err)
		}
		fmt.Fprintf(table, "%s\t%s\n", f.name, state)
	}
	return table.Flush()
}

// state of the feature, in a few words.
func (f *bpfFeature) state() (string, error) {
	unavailable := f.probe()
	if unavailable != nil && !errors.Is(unavailable, bpf.ErrUnavailable) {
		return "", unavailable
	}
	attached, err := f.attached()
	switch {
	case attached != "":
		return "active: " + attached, nil
	case unavailable != nil: // and what is pinned can't be read
		return unavailable.Error(), nil
	case err != nil:
		return "", err
	}
	return "off", nil
}

// attached is what active says, or else unpinned.
func (f *bpfFeature) attached() (string, error) {
	if f.active != nil {
		pins, found, err := bpf.ExistingPins(f.name)
		if err != nil {
			return "", err
		}
		if found {
			if attached, err := f.active(pins); attached != "" || err != nil {
				return attached, err
			}
		}
	}
	if f.unpinned == nil {
		return "", nil
	}
	return f.unpinned()
}

func detachBPF(w io.Writer, features []bpfFeature, names []string) error {
	known, unpinned := make([]string, 0, len(features)), make(map[string]bool)
	for _, f := range features {
		known, unpinned[f.name] = append(known, f.name), f.active == nil
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("there is no eBPF feature %q; there are: %s", name, strings.Join(known, ", "))
		}
	}
	if len(names) == 0 {
		names = known
	}
	var errs []error
	for _, name := range names {
		pins, found, err := bpf.ExistingPins(name)
		if err == nil && found {
			err = pins.Remove()
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("detach %s: %w", name, err))
		case unpinned[name]:
			fmt.Fprintf(w, "%s: is never left attached, as it ends with its Lintel\n", name)
		case found:
			fmt.Fprintf(w, "%s: detached\n", name)
		default:
			fmt.Fprintf(w, "%s: nothing was attached\n", name)
		}
	}
	return errors.Join(errs...)
}
