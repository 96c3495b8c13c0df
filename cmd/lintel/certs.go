package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

const (
	// certificatesPath is where the admin port tells of certificates.
	certificatesPath = "/certificates"
	// certsTimeout is for an answer of a process nearby.
	certsTimeout = 10 * time.Second
)

func newCertsCommand() *cobra.Command {
	reader := newSettingsReader()
	var output string
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "List the certificates of a running Lintel",
		Long: `List the certificates that a running Lintel serves or is to get: their names, the
Secret that they are in, the issuer, when they end and are renewed, and what was wrong with the
last order. They are asked for at the admin address; on Kubernetes:
kubectl -n lintel exec ds/lintel -- /lintel certs. The replica that orders (it holds the Lease)
knows of orders, the others of certificates alone.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := reader.Read(os.Environ())
			if err != nil {
				return err
			}
			network, address := "unix", settings.AdminSocket
			if address == "" {
				network, address = "tcp", settings.AdminAddress
			}
			if address == "" {
				return errors.New("admin-address and admin-socket are empty: certificates are asked for there")
			}
			return certs(cmd.Context(), adminClient(network, address), output, cmd.OutOrStdout())
		},
	}
	cmd.Flags().AddFlag(reader.Flags().Lookup("admin-address"))
	cmd.Flags().AddFlag(reader.Flags().Lookup("admin-socket"))
	cmd.Flags().AddFlag(reader.Flags().Lookup(configName))
	cmd.Flags().StringVarP(&output, "output", "o", "table", "`format`: table or json")
	return cmd
}

// certs writes the certificates of the Lintel that client asks.
func certs(ctx context.Context, client *http.Client, output string, out io.Writer) error {
	if output != "table" && output != "json" {
		return fmt.Errorf("output %q must be table or json", output)
	}
	ctx, cancel := context.WithTimeout(ctx, certsTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lintel"+certificatesPath, nil)
	if err != nil {
		return fmt.Errorf("ask for certificates: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the Lintel that runs here: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("ask for certificates: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask for certificates: %s: %s", response.Status, strings.TrimSpace(string(body)))
	}
	if output == "json" {
		_, err := out.Write(body)
		return err
	}
	var report []certificateOfReport
	if err := json.Unmarshal(body, &report); err != nil {
		return fmt.Errorf("read certificates: %w", err)
	}
	return writeReport(report, out)
}

// writeReport writes a table.
func writeReport(report []certificateOfReport, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SECRET\tNAMES\tISSUER\tSTAGE\tEXPIRES\tRENEWS\tLAST ERROR")
	for i := range report {
		r := &report[i]
		fmt.Fprintln(w, strings.Join([]string{
			r.Secret, strings.Join(r.Names, ","), dash(r.Issuer), dash(r.Stage), dashTime(r.Expires), dashTime(r.Renews), dash(strings.ReplaceAll(r.Message, "\n", " ")),
		}, "\t"))
	}
	return w.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func dashTime(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
