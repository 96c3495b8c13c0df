package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lintel-dev/lintel/observe"
)

func newTunnelCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "tunnel", Short: "Look at Cloudflare Tunnels", Args: cobra.NoArgs}
	cmd.AddCommand(newTunnelStatusCommand(), newTunnelDiagnoseCommand())
	return cmd
}

func newTunnelStatusCommand() *cobra.Command {
	cmd := tunnelReport().command()
	cmd.Use, cmd.Short = "status", "List the tunnels of a running Lintel, with their connections"
	cmd.Long = `List the tunnels of a running Lintel, with each connection to Cloudflare's edge, and why there
are not more of them. They are asked for at the admin address; on Kubernetes:
kubectl -n lintel exec ds/lintel -- /lintel tunnel status. Each replica has connections of its own.`
	return cmd
}

// tunnelReport tells of the tunnels.
func tunnelReport() *adminReport[tunnelOfReport] {
	return &adminReport[tunnelOfReport]{path: "/tunnels", noun: "tunnels", table: writeTunnels}
}

// tunnelOfReport is a tunnel as `lintel tunnel status` shows it.
type tunnelOfReport struct {
	Tunnel      string                   `json:"tunnel"` // namespace/name
	ID          string                   `json:"id,omitempty"`
	Hostname    string                   `json:"hostname,omitempty"`
	Connections []tunnelConnectionReport `json:"connections"`
	Message     string                   `json:"message,omitempty"`
	Refused     bool                     `json:"refused,omitempty"`
}

type tunnelConnectionReport struct {
	Index     int       `json:"index"`
	Location  string    `json:"location"`
	Edge      string    `json:"edge"`
	Protocol  string    `json:"protocol"`
	RoundTrip float64   `json:"roundTripSeconds"`
	Since     time.Time `json:"since"`
}

// report tells of the tunnels of now. It may be called by any goroutine.
func (c *tunnelCare) report() []tunnelOfReport {
	status := c.connector.Status()
	c.mu.Lock()
	defer c.mu.Unlock()
	report := make([]tunnelOfReport, 0, len(c.wanted))
	for name, w := range c.wanted {
		s := status[name.String()]
		state := w.state(&s)
		r := tunnelOfReport{
			Tunnel: name.String(), ID: state.ID, Hostname: state.Hostname, Connections: []tunnelConnectionReport{},
			Message: cmp.Or(state.Invalid, state.Failure), Refused: state.Refused,
		}
		if r.Message == "" && state.ID == "" {
			r.Message = "there are no credentials yet"
		}
		for i := range s.Connections {
			n := &s.Connections[i]
			r.Connections = append(r.Connections, tunnelConnectionReport{n.Index, n.Location, n.Address.String(), string(protocolNamed(n.Protocol)), n.RoundTrip.Seconds(), n.Since})
		}
		report = append(report, r)
	}
	slices.SortFunc(report, func(x, y tunnelOfReport) int { return cmp.Compare(x.Tunnel, y.Tunnel) })
	return report
}

// measure tells metrics of the tunnels of now.
func (c *tunnelCare) measure() []observe.Tunnel {
	var all []observe.Tunnel
	for name, s := range c.connector.Status() {
		t := observe.Tunnel{Name: name, Registered: s.Registered, Refused: s.Refused, Failed: s.Failed, Lost: s.Lost}
		for i := range s.Connections {
			n := &s.Connections[i]
			t.Connections = append(t.Connections, observe.TunnelConnection{Index: n.Index, Location: n.Location, Protocol: string(protocolNamed(n.Protocol)), RoundTrip: n.RoundTrip})
		}
		all = append(all, t)
	}
	return all
}

// writeTunnels writes a table with a line for each connection, or for a tunnel that has none.
func writeTunnels(report []tunnelOfReport, out io.Writer) error {
	if len(report) == 0 {
		fmt.Fprintln(out, "There are no tunnels: no Gateway, GatewayClass or IngressClass names one.")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TUNNEL\tID\tCONNECTION\tLOCATION\tEDGE\tPROTOCOL\tRTT\tSINCE")
	for i := range report {
		r := &report[i]
		if len(r.Connections) == 0 {
			fmt.Fprintln(w, strings.Join([]string{r.Tunnel, dash(r.ID), "none", "-", "-", "-", "-", "-"}, "\t"))
		}
		for _, c := range r.Connections {
			rtt := time.Duration(c.RoundTrip * float64(time.Second)).Round(100 * time.Microsecond)
			fmt.Fprintln(w, strings.Join([]string{r.Tunnel, dash(r.ID), strconv.Itoa(c.Index), dash(c.Location), c.Edge, c.Protocol, rtt.String(), dashTime(&c.Since)}, "\t"))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for i := range report {
		if r := &report[i]; r.Message != "" {
			fmt.Fprintf(out, "%s: %s\n", r.Tunnel, r.Message)
		}
	}
	return nil
}
