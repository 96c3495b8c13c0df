package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// adminReportTimeout is for an answer of a process nearby.
const adminReportTimeout = 10 * time.Second

// adminReport is a list that a running Lintel gives at its admin address, and that a command
// shows.
type adminReport[Row any] struct {
	path  string
	noun  string // of the rows, in the plural
	table func([]Row, io.Writer) error
}

// command returns the command that shows the report. Its caller says how it is called.
func (r *adminReport[Row]) command() *cobra.Command {
	reader := newSettingsReader()
	var output string
	cmd := &cobra.Command{Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		client, err := adminOf(reader, r.noun)
		if err != nil {
			return err
		}
		return r.show(cmd.Context(), client, output, cmd.OutOrStdout())
	}}
	addAdminFlags(cmd, reader)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "`format`: table or json")
	return cmd
}

// show writes the report of the Lintel that client asks, as a table or as json.
func (r *adminReport[Row]) show(ctx context.Context, client *http.Client, output string, out io.Writer) error {
	if output != "table" && output != "json" {
		return fmt.Errorf("output %q must be table or json", output)
	}
	ctx, cancel := context.WithTimeout(ctx, adminReportTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lintel"+r.path, nil)
	if err != nil {
		return fmt.Errorf("ask for %s: %w", r.noun, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the Lintel that runs here: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("ask for %s: %w", r.noun, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask for %s: %s: %s", r.noun, response.Status, strings.TrimSpace(string(body)))
	}
	if output == "json" {
		_, err := out.Write(body)
		return err
	}
	var rows []Row
	if err := json.Unmarshal(body, &rows); err != nil {
		return fmt.Errorf("read %s: %w", r.noun, err)
	}
	return r.table(rows, out)
}

// serve answers with the rows of now; nil says that there are none yet.
func (r *adminReport[Row]) serve(rows func() []Row) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		report := rows()
		if report == nil {
			answer(w, http.StatusServiceUnavailable, "no configuration yet\n")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(report) // the client may be gone
	}
}

// addAdminFlags adds what says where a running Lintel is asked.
func addAdminFlags(cmd *cobra.Command, reader *settingsReader) {
	for _, name := range []string{"admin-address", "admin-socket", configName} {
		cmd.Flags().AddFlag(reader.Flags().Lookup(name))
	}
}

// adminOf returns a client of the Lintel that the settings tell of. nouns are what it is to be
// asked for.
func adminOf(reader *settingsReader, nouns string) (*http.Client, error) {
	settings, err := reader.Read(os.Environ())
	switch {
	case err != nil:
		return nil, err
	case settings.AdminSocket != "":
		return adminClient("unix", settings.AdminSocket), nil
	case settings.AdminAddress != "":
		return adminClient("tcp", settings.AdminAddress), nil
	default:
		return nil, errors.New("admin-address and admin-socket are empty: " + nouns + " are asked for there")
	}
}

// adminClient asks at an admin address or socket.
func adminClient(network, address string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
}
