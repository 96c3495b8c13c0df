package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// suggest returns ` (did you mean …?)` with the key of names that is nearest to
// word, or nothing when none is near.
func suggest(word string, names map[string]string) string {
	best, least := "", 1+len(word)/3
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if d := distance(strings.ToLower(word), strings.ToLower(name)); d <= least && (best == "" || d < least) {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance counts the letters to add, drop or change to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
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
