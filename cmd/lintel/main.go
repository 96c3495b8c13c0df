// Command lintel is the edge gateway: see `lintel help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(profiled(execute)) }

// Exit codes: 1 says that the command found or met a problem, 2 that it was called
// wrongly.
const (
	exitProblem = 1
	exitUsage   = 2
	// exitDiffers says of lintel dns plan that something would change.
	exitDiffers = 2
)

// errReported ends a command that has said itself what is wrong.
var errReported = errors.New("already reported")

// errDiffers ends a command that has found, and said, a difference.
var errDiffers = errors.New("something would change")

// execute runs the command line and returns the exit code. The first SIGINT,
// SIGTERM or SIGHUP ends the context that commands get; the second one ends the
// process. Whoever reads our output may go away without ending us.
func execute() int {
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)

	job, usage, err := readCommandLine(ctx)
	if err == nil && job != nil {
		err = job(ctx)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errReported):
		return exitProblem
	case errors.Is(err, errDiffers):
		return exitDiffers
	case usage:
		fmt.Fprintf(os.Stderr, "lintel: %v\nRun 'lintel help' for how it is called.\n", err)
		return exitUsage
	default:
		fmt.Fprintf(os.Stderr, "lintel: %v\n", err)
		return exitProblem
	}
}

// job is what is left to do of a command when the command line is not needed any more,
// which is a third of a megabyte with all the flags: for what runs long.
type job func(context.Context) error

// readCommandLine runs the command that the command line is of, and returns its job, which
// most have none of. If there is an error, usage says that no command began to run.
func readCommandLine(ctx context.Context) (left job, usage bool, err error) {
	usage = true
	root := newRootCommand(&left)
	root.PersistentPreRun = func(*cobra.Command, []string) { usage = false }
	err = root.ExecuteContext(ctx)
	return left, usage, err
}

// newRootCommand returns all commands. One that leaves a job puts it into left.
func newRootCommand(left *job) *cobra.Command {
	root := &cobra.Command{
		Use:           "lintel",
		Short:         "The edge of a small cluster in one binary: Gateway API and Ingress, from Kubernetes or from files",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(explainFlagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newRunCommand(left), newCheckCommand(), newProbeCommand(), newCertsCommand(), newDNSCommand(), newTunnelCommand(), newBPFCommand(), newObserveCommand(), newVersionCommand())
	return root
}
