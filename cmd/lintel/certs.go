package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func newCertsCommand() *cobra.Command {
	cmd := certificateReport().command()
	cmd.Use, cmd.Short = "certs", "List the certificates of a running Lintel"
	cmd.Long = `List the certificates that a running Lintel serves or is to get: their names, the
Secret that they are in, the issuer, when they end and are renewed, and what was wrong with the
last order. They are asked for at the admin address; on Kubernetes:
kubectl -n lintel exec ds/lintel -- /lintel certs. The replica that orders (it holds the Lease)
knows of orders, the others of certificates alone.`
	return cmd
}

// certificateReport tells of the certificates.
func certificateReport() *adminReport[certificateOfReport] {
	return &adminReport[certificateOfReport]{path: "/certificates", noun: "certificates", table: writeCertificates}
}

// writeCertificates writes a table with a line for each certificate.
func writeCertificates(report []certificateOfReport, out io.Writer) error {
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
