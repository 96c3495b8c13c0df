package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// probeTimeout bounds a question to the running Lintel.
const probeTimeout = 5 * time.Second

// probeAnswerLimit is more than any answer has, in bytes.
const probeAnswerLimit = 64 << 10

// newProbeCommand returns `lintel probe`. It reads no configuration file: that may be
// newer than the Lintel that runs.
func newProbeCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "probe healthz|readyz",
		Short: "Ask the running Lintel how it is; exit 1 unless it is well",
		Long: `Ask the Lintel whose admin socket is given for /healthz or /readyz, and print what it
says. It is for probes of Pods that have the network of their node, where a port may be
another Pod's.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] != "healthz" && args[0] != "readyz" {
				return errors.New("probe needs healthz or readyz")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if path == "" {
				return errors.New("probe needs --admin-socket, or LINTEL_ADMIN_SOCKET, with the value that lintel run has")
			}
			return probe(cmd.Context(), path, args[0], cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&path, "admin-socket", os.Getenv("LINTEL_ADMIN_SOCKET"), "`path` of the Unix socket")
	return cmd
}

func probe(ctx context.Context, path, what string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	client := adminClient("unix", path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lintel/"+what, nil)
	if err != nil {
		return fmt.Errorf("ask for %s: %w", what, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask for %s: %w", what, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, probeAnswerLimit))
	if err != nil {
		return fmt.Errorf("ask for %s: %w", what, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", what, strings.TrimSpace(string(text)))
	}
	if _, err := out.Write(text); err != nil {
		return fmt.Errorf("print answer: %w", err)
	}
	return nil
}
