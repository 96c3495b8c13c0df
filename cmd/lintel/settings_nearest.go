package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lintel-dev/lintel/internal/nearest"
)

// suggest returns ` (did you mean …?)` with the key of names that is nearest to
// word, or nothing when none is near.
func suggest(word string, names map[string]string) string {
	best := nearest.Of(word, slices.Sorted(maps.Keys(names)))
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// explainFlagError adds the nearest flag to the error of an unknown one. It suits
// cobra's SetFlagErrorFunc.
func explainFlagError(cmd *cobra.Command, err error) error {
	unknown, ok := err.(*pflag.NotExistError) //nolint:errorlint // Cobra hands it over as it was made.
	if !ok || len(unknown.GetSpecifiedName()) < 2 {
		return err
	}
	flags := map[string]string{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) { flags["--"+f.Name] = f.Name })
	return fmt.Errorf("%w%s", err, suggest("--"+unknown.GetSpecifiedName(), flags))
}
