package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/gateway/v1alpha1"
	"github.com/lintel-dev/lintel/manifest"
)

func newCheckCommand() *cobra.Command {
	reader := newSettingsReader()
	cmd := &cobra.Command{
		Use:   "check PATH",
		Short: "Validate manifests without serving them; exit 1 if there is a mistake",
		Long: `Validate the manifests of a directory, a file, or standard input (-), as an API
server and the gateway would. Every mistake is one line with file, line, object and
field on standard output. The exit code is 0 if there is none, and 1 if there is one, or
if PATH cannot be read.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("check needs one PATH: a directory, a file, or - for standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := reader.Read(os.Environ())
			if err != nil {
				return err
			}
			return check(args[0], gatewaySettings(&settings), cmd.OutOrStdout())
		},
	}
	cmd.Flags().AddFlagSet(reader.Flags())
	return cmd
}

// check prints every mistake in the manifests of path, and returns errReported if
// there is one.
func check(path string, settings gateway.Settings, out io.Writer) error {
	source := manifest.New(path)
	if err := source.Load(); err != nil {
		return err
	}
	problems := source.Problems()
	snapshot := source.Snapshot()
	snapshot.Settings = settings
	plan := gateway.Build(snapshot, &gateway.Memo{})
	for _, p := range append(plan.Problems, checkCredentials(plan)...) {
		file, line := source.Locate(p.Object, p.Field)
		problems = append(problems, manifest.Problem{File: file, Line: line, Object: p.Object, Field: p.Field, Message: p.Message})
	}
	slices.SortStableFunc(problems, func(x, y manifest.Problem) int {
		return cmp.Or(strings.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line))
	})
	for _, p := range problems {
		fmt.Fprintln(out, p)
	}
	if len(problems) > 0 {
		return errReported
	}
	return nil
}

// checkCredentials returns what is wrong with the credentials of tunnels that are given.
func checkCredentials(plan *gateway.Plan) []gateway.Problem {
	var problems []gateway.Problem
	for i := range plan.Tunnels {
		t := &plan.Tunnels[i]
		if _, err := readCredentials(t); err != nil {
			object := gateway.ObjectRef{Kind: v1alpha1.KindTunnel, Namespace: t.Name.Namespace, Name: t.Name.Name}
			problems = append(problems, gateway.Problem{Object: object, Field: "spec.credentials", Message: err.Error()})
		}
	}
	return problems
}
