package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version says what program this is, as the Go command recorded it.
type version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"` // "+dirty" follows when files were changed
	Date    string `json:"date,omitempty"`   // of the commit, RFC 3339
	Go      string `json:"go"`
	System  string `json:"system"`
}

func thisVersion() version {
	v := version{Version: "(devel)", Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v.Commit = s.Value + v.Commit
		case s.Key == "vcs.time":
			v.Date = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			v.Commit += "+dirty"
		}
	}
	return v
}

// newVersionCommand returns `lintel version`.
func newVersionCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print which build this is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printVersion(cmd, thisVersion(), output)
		},
	}
	cmd.Flags().VarP(choice(&output, "text", "text", "json"), "output", "o", "`format`: text or json")
	return cmd
}

func printVersion(cmd *cobra.Command, v version, output string) error {
	if output == "json" {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(v)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "lintel %s\ncommit %s\ndate   %s\ngo     %s %s\n",
		v.Version, orUnknown(v.Commit), orUnknown(v.Date), v.Go, v.System)
	return err
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
