package main

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway"
	"github.com/lintel-dev/lintel/kube"
	"github.com/lintel-dev/lintel/observe"
	"github.com/lintel-dev/lintel/tls/acme"
)

// certificateOfReport is a certificate that is served or wanted, as `lintel certs` shows it.
type certificateOfReport struct {
	Secret  string     `json:"secret"` // namespace/name
	Names   []string   `json:"names"`
	Issuer  string     `json:"issuer,omitempty"` // "" when it is somebody else's
	Stage   string     `json:"stage,omitempty"`  // likewise
	Expires *time.Time `json:"expires,omitempty"`
	Renews  *time.Time `json:"renews,omitempty"`
	Message string     `json:"message,omitempty"`
	Objects []string   `json:"objects,omitempty"` // that it was issued for
}

// servedBy are the certificates of all sockets of a Plan.
func servedBy(plan *gateway.Plan) []gateway.Certificate {
	var served []gateway.Certificate
	for i := range plan.Sockets {
		served = append(served, plan.Sockets[i].Certificates...)
	}
	return served
}

// publish makes the report, for the admin port and for metrics.
func (c *certificateCare) publish() {
	rows := make(map[types.NamespacedName]*certificateOfReport)
	for _, w := range c.want {
		row := &certificateOfReport{Secret: w.Secret.String(), Names: w.Names, Issuer: w.Issuer}
		for _, o := range w.Objects {
			row.Objects = append(row.Objects, o.String())
		}
		if state, ok := c.states[acme.Name(w.Secret)]; ok {
			row.Stage, row.Message = string(state.Stage), state.Message
			row.Renews = timeOrNil(state.Renews)
		}
		rows[w.Secret] = row
	}
	ends := make(map[observe.Certificate]time.Time)
	for i := range c.served {
		served := &c.served[i]
		row := rows[served.Secret]
		if row == nil {
			row = &certificateOfReport{Secret: served.Secret.String()}
			rows[served.Secret] = row
		}
		if leaf := served.Certificate.Leaf; leaf != nil {
			row.Names, row.Expires = namesOf(leaf), &leaf.NotAfter
			ends[observe.Certificate{Namespace: served.Secret.Namespace, Secret: served.Secret.Name, Issuer: row.Issuer}] = leaf.NotAfter
		}
	}
	report := make([]certificateOfReport, 0, len(rows))
	for _, row := range rows {
		report = append(report, *row)
	}
	slices.SortFunc(report, func(x, y certificateOfReport) int { return cmp.Compare(x.Secret, y.Secret) })
	c.report.Store(&report)
	c.metrics.SetCertificates(ends)
}

// reported returns the report of now; nil before there is one. It may be called by any
// goroutine.
func (c *certificateCare) reported() []certificateOfReport {
	if report := c.report.Load(); report != nil {
		return *report
	}
	return nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func namesOf(leaf *x509.Certificate) []string {
	if len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 {
		return []string{leaf.Subject.CommonName}
	}
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// tell writes an Event for each certificate that got to another stage, on the objects that
// want it.
func (c *certificateCare) tell(want []gateway.WantedCertificate) {
	for i := range want {
		w := &want[i]
		state, known := c.states[acme.Name(w.Secret)]
		was := c.told[w.Secret]
		if !known || state.Stage == acme.Pending || state.Stage == was.Stage && state.Message == was.Message {
			continue
		}
		c.told[w.Secret] = state
		if state.Stage == acme.Ready && was.Stage == "" {
			continue // it was there before
		}
		event := kube.Event{
			Warning: state.Stage == acme.Failed || state.Stage == acme.Foreign,
			Reason:  "Certificate" + string(state.Stage), Message: eventMessage(w, &state),
		}
		for _, event.Object = range w.Objects {
			c.event(event)
		}
	}
}

// tellMistakes writes an Event for each mistake about the certificates of an Ingress, which
// has no conditions that could tell.
func (c *certificateCare) tellMistakes(problems []gateway.Problem) {
	if !c.leads.Load() {
		return
	}
	wrong := make(map[gateway.Problem]bool)
	for _, p := range problems {
		if p.Object.Kind != "Ingress" || p.Reason != gateway.ReasonInvalidIssuer && p.Reason != string(gatewayv1.ListenerReasonInvalidCertificateRef) {
			continue
		}
		wrong[p] = true
		if !c.wrong[p] {
			c.event(kube.Event{Object: p.Object, Warning: true, Reason: p.Reason, Message: p.Field + ": " + p.Message})
		}
	}
	c.wrong = wrong
}

func eventMessage(w *gateway.WantedCertificate, state *acme.State) string {
	text := fmt.Sprintf("Secret %s, issuer %q, names %s", w.Secret.Name, w.Issuer, strings.Join(w.Names, ", "))
	if state.Message != "" {
		text += ": " + state.Message
	}
	switch {
	case state.Stage == acme.Ready:
		text += ": valid until " + state.NotAfter.UTC().Format(time.RFC3339)
	case !state.Retry.IsZero():
		text += "; next try at " + state.Retry.UTC().Format(time.RFC3339)
	}
	return text
}
