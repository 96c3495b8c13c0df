package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lintel-dev/lintel/tunnel"
	"github.com/lintel-dev/lintel/tunnel/account"
	"github.com/lintel-dev/lintel/tunnel/diagnose"
)

// diagnosis is how lintel tunnel diagnose is called.
type diagnosis struct {
	token, apiToken   string // places
	account, zone     string
	protocol, region  string
	addresses         []string
	authority, apiURL string
}

func newTunnelDiagnoseCommand() *cobra.Command {
	var d diagnosis
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "Look for what keeps a tunnel from connecting: DNS, firewalls, tokens",
		Long: `Look for what keeps a tunnel from connecting: whether Cloudflare's edge is found by DNS, whether
each of its addresses is reached over TCP and UDP, whether the tunnel's token can be read, and
what an API token may do. Nothing is registered or changed. Run it where Lintel runs.

Tokens are given by where they stand, env:NAME or file:PATH. The exit code is 1 when something
has failed that the tunnel needs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&d.token, "token", "", "`place` of the tunnel's token or credentials file: env:NAME or file:PATH")
	flags.StringVar(&d.protocol, "protocol", string(tunnel.HTTP2), "what the tunnel is to speak: http2, quic or auto")
	flags.StringVar(&d.region, "region", "", "`region` of the edge, such as us, in place of what the token says")
	flags.StringSliceVar(&d.addresses, "edge", nil, "`addresses` (ip:port) of the edge in place of those that DNS has")
	flags.StringVar(&d.authority, "edge-ca", "", "`file` with certificates (PEM) that the edge is trusted by in place of Cloudflare's")
	flags.StringVar(&d.apiToken, "api-token", "", "`place` of an API token, to see what it may do: env:NAME or file:PATH")
	flags.StringVar(&d.account, "account", "", "`ID` of the account whose tunnels the API token is for")
	flags.StringVar(&d.zone, "zone", "", "`zone` whose DNS records the API token is for")
	flags.StringVar(&d.apiURL, "api-url", "", "`address` of the API in place of Cloudflare's")
	return cmd
}

func (d *diagnosis) run(ctx context.Context, out io.Writer) error {
	options, err := d.options()
	if err != nil {
		return err
	}
	checks := diagnose.Run(ctx, options)
	if err := writeChecks(checks, out); err != nil {
		return err
	}
	if !diagnose.Healthy(checks) {
		return errReported
	}
	return nil
}

func (d *diagnosis) options() (diagnose.Options, error) {
	o := diagnose.Options{Endpoint: d.region, Protocol: tunnel.Protocol(d.protocol)}
	switch o.Protocol {
	case tunnel.HTTP2, tunnel.QUIC, tunnel.Auto:
	default:
		return o, fmt.Errorf("--protocol: %q must be http2, quic or auto", d.protocol)
	}
	for _, text := range d.addresses {
		address, err := netip.ParseAddrPort(text)
		if err != nil {
			return o, fmt.Errorf("--edge: %q must be an address with a port, such as 198.41.192.7:7844", text)
		}
		o.Edge.Addresses = append(o.Edge.Addresses, address)
	}
	if d.authority != "" {
		pem, err := os.ReadFile(d.authority)
		if err != nil {
			return o, fmt.Errorf("--edge-ca: %w", err)
		}
		o.Edge.Roots = x509.NewCertPool()
		if !o.Edge.Roots.AppendCertsFromPEM(pem) {
			return o, fmt.Errorf("--edge-ca: there is no certificate (PEM) in %s", d.authority)
		}
	}
	var err error
	if o.Token, err = readPlace("token", d.token); err != nil {
		return o, err
	}
	apiToken, err := readPlace("api-token", d.apiToken)
	if err != nil {
		return o, err
	}
	if apiToken == nil && cmp.Or(d.account, d.zone) != "" {
		return o, errors.New("--account and --zone are asked for with an API token: give --api-token")
	}
	if apiToken != nil {
		o.API = &diagnose.API{Zone: d.zone, Options: account.Options{Token: apiToken, ID: d.account, URL: d.apiURL}}
	}
	return o, nil
}

// readPlace returns what reads a token where it stands; nil if none is given.
func readPlace(flag, text string) (func() (string, error), error) {
	if text == "" {
		return nil, nil
	}
	place, err := credentialPlace(text)
	if err != nil || strings.HasPrefix(text, "secret:") {
		return nil, fmt.Errorf("--%s must say where it stands, and not the thing itself: env:NAME or file:PATH", flag)
	}
	return localCredentials(nil)(place), nil
}

// writeChecks writes a table with a line for each check, and below it what to do.
func writeChecks(checks []diagnose.Check, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHECK\tSTATE\tDETAIL")
	for _, c := range checks {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Name, c.State, strings.ReplaceAll(c.Detail, "\n", "; "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	told := map[string]bool{}
	for _, c := range checks {
		if c.Hint != "" && !told[c.Hint] {
			told[c.Hint] = true
			fmt.Fprintf(out, "%s: %s\n", c.Name, c.Hint)
		}
	}
	return nil
}
