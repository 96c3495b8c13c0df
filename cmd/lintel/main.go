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

func main() { os.Exit(execute()) }

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

	usage := true // until a command starts to run
	root := newRootCommand()
	root.PersistentPreRun = func(*cobra.Command, []string) { usage = false }
	switch err := root.ExecuteContext(ctx); {
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

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "lintel",
		Short:         "The edge of a small cluster in one binary: Gateway API and Ingress, from Kubernetes or from files",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(explainFlagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newRunCommand(), newCheckCommand(), newProbeCommand(), newCertsCommand(), newDNSCommand(), newTunnelCommand(), newBPFCommand(), newObserveCommand(), newVersionCommand())
	return root
}
