package gateway

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lintel-dev/lintel/gateway/v1alpha1"
	"github.com/lintel-dev/lintel/router"
)

var update = flag.Bool("update", false, "write what Build makes into testdata/*.txtar")

// TestBuild runs every testdata/*.txtar: the objects of input.yaml give the
// table, the status and the problems that stand beside them.
func TestBuild(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i := range archive.Files {
				if f := &archive.Files[i]; f.Name != "input.yaml" {
					got := render(t, archive.Files[0].Data)[f.Name]
					if diff := cmp.Diff(string(f.Data), got); diff != "" && !*update {
						t.Errorf("%s (-want +got):\n%s", f.Name, diff)
					}
					f.Data = []byte(got)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// render builds the input and writes every part of the outcome as text.
func render(t *testing.T, input []byte) map[string]string {
	t.Helper()
	b := newBuild(readSnapshot(t, input), &Memo{})
	b.run()
	return map[string]string{
		"table":    renderTable(b),
		"sockets":  renderSockets(b.plan.Sockets),
		"status":   renderStatuses(b.plan.Statuses),
		"problems": renderProblems(b.plan.Problems),

		"certificates":   renderCertificates(b.plan.Certificates),
		"tunnels":        renderTunnels(b.plan),
		"infrastructure": renderInfrastructure(b.plan.Infrastructure),
		"names":          renderNames(b.plan.Names),
	}
}

func renderTunnels(plan *Plan) string {
	var lines strings.Builder
	for _, n := range plan.Secrets {
		fmt.Fprintf(&lines, "needs Secret %s\n", n)
	}
	for i := range plan.Tunnels {
		t := &plan.Tunnels[i]
		fmt.Fprintf(&lines, "%s by %s token %q file %q for %v\n  http to %q, https to %q, TCP %v\n", t.Name, t.Protocol, t.Token, t.File, t.Objects, t.Plain, t.Secure, t.Streams)
		if c := t.Create; c != nil {
			fmt.Fprintf(&lines, "  created as %q in %s by %q, kept in %s\n", c.Name, c.AccountID, c.APIToken, c.Secret)
		}
		if d := &t.DNS; d.Mode != v1alpha1.TunnelDNSOff {
			fmt.Fprintf(&lines, "  records %s %v by %q\n", d.Mode, d.Domains, d.APIToken)
		}
		if e := t.Edge; e.Region+e.CA != "" || e.Addresses != nil {
			fmt.Fprintf(&lines, "  edge %+v\n", e)
		}
	}
	return lines.String()
}

func renderNames(all []NamedObject) string {
	var lines strings.Builder
	for _, n := range all {
		fmt.Fprintf(&lines, "%s %v annotations %v\n", n.Object, n.Hostnames, n.Annotations)
		for _, e := range n.Entries {
			fmt.Fprintf(&lines, "  by %q [%s] at %v, annotations %v", e.Gateway, e.Hostname, e.Addresses, e.Annotations)
			if e.Tunnel.Name != "" {
				fmt.Fprintf(&lines, ", through %s", e.Tunnel)
			}
			lines.WriteString("\n")
			if len(e.Local) > 0 {
				fmt.Fprintf(&lines, "    local %v\n", e.Local)
			}
		}
	}
	return lines.String()
}

func renderCertificates(all []WantedCertificate) string {
	var lines strings.Builder
	for _, c := range all {
		fmt.Fprintf(&lines, "%s %v from %s for %v", c.Secret, c.Names, c.Issuer, c.Objects)
		if c.CommonName+c.KeyAlgorithm != "" || c.Duration+c.RenewBefore != 0 {
			fmt.Fprintf(&lines, " common name %q key %q for %s renewed %s before", c.CommonName, c.KeyAlgorithm, c.Duration, c.RenewBefore)
		}
		lines.WriteString("\n")
	}
	return lines.String()
}

func renderInfrastructure(all []Infrastructure) string {
	var lines strings.Builder
	for _, i := range all {
		if i.None() {
			fmt.Fprintf(&lines, "no Service of %s\n", i.Gateway)
			continue
		}
		fmt.Fprintf(&lines, "Service %s/%s of %s, labels %v, annotations %v\n", i.Gateway.Namespace, i.Name, i.Gateway, i.Labels, i.Annotations)
		for _, p := range i.Ports {
			fmt.Fprintf(&lines, "  port %s %d/%s\n", p.Name, p.Port, p.Protocol)
		}
		for _, a := range i.Addresses {
			fmt.Fprintf(&lines, "  address %s\n", a)
		}
	}
	return lines.String()
}

func renderTable(b *build) string {
	var lines []string
	for _, h := range b.hosts {
		host := h.Host
		if h.OneLabel {
			host += " (one label)"
		}
		if len(h.Rules) == 0 {
			lines = append(lines, fmt.Sprintf("%s [%s] %q: no rules\n", h.Socket, h.ListenerHost, host))
		}
		for _, r := range h.Rules {
			lines = append(lines, fmt.Sprintf("%s [%s] %q %s => %s  (%s)\n", h.Socket, h.ListenerHost, host, renderMatch(&r.Match), renderAction(&r.Action), r.Route))
		}
	}
	for _, h := range b.hosts {
		for i, a := range h.Auths {
			lines = append(lines, fmt.Sprintf("%s [%s] first %d: %s\n", h.Socket, h.ListenerHost, i, renderAuth(a)))
		}
	}
	for i := range b.streams {
		lines = append(lines, renderStream(&b.streams[i]))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func renderStream(r *router.StreamRules) string {
	mode := "passed on"
	if r.Terminate {
		mode = "after TLS"
	}
	s := fmt.Sprintf("%s [%s] %q %s => ", r.Socket, r.ListenerHost, r.Host, mode)
	if r.Stream == nil {
		return s + "no route\n"
	}
	var backends []string
	for _, w := range r.Stream.Backends {
		name := "invalid"
		if w.Backend != nil {
			name = renderBackend(w.Backend)
		}
		backends = append(backends, fmt.Sprintf("%s*%d", name, w.Weight))
	}
	return s + strings.Join(backends, ", ") + "  (" + r.Stream.Route + ")\n"
}

func renderMatch(m *router.Match) string {
	kinds := map[router.PathKind]string{router.PathPrefix: "prefix", router.PathExact: "exact", router.PathRegex: "regex"}
	s := strings.TrimSpace(m.Method + " " + kinds[m.Path.Kind] + " " + m.Path.Value)
	if m.Path.Kind == router.PathPrefix && m.Path.Regexp != nil {
		s += " ~" + m.Path.Regexp.String()
	}
	for _, h := range m.Headers {
		s += fmt.Sprintf(" header %s=%s", h.Name, renderValue(h))
	}
	for _, q := range m.Query {
		s += fmt.Sprintf(" query %s=%s", q.Name, renderValue(q))
	}
	return s
}

func renderValue(v router.ValueMatch) string {
	if v.Regexp != nil {
		return "~" + v.Regexp.String()
	}
	return v.Value
}

func renderAction(a *router.Action) string {
	var parts []string
	if a.Status != 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprint("status ", a.Status, " ", a.Body)))
	}
	if r := a.Redirect; r != nil {
		parts = append(parts, fmt.Sprintf("redirect %d %s://%s:%d path %d %q", r.Status, r.Scheme, r.Hostname, r.Port, r.Path.Kind, r.Path.Value))
	}
	if r := a.Rewrite; r != nil {
		parts = append(parts, fmt.Sprintf("rewrite host %q path %d %q", r.Hostname, r.Path.Kind, r.Path.Value))
	}
	parts = append(parts, renderHeaders("request", a.RequestHeaders)...)
	parts = append(parts, renderHeaders("response", a.ResponseHeaders)...)
	if a.RequestTimeout+a.BackendTimeout > 0 {
		parts = append(parts, fmt.Sprintf("timeouts %s %s", a.RequestTimeout, a.BackendTimeout))
	}
	if a.Auth != nil {
		parts = append(parts, renderAuth(a.Auth))
	}
	parts = append(parts, renderPolicies(a)...)
	parts = append(parts, renderMirrors(a.Mirrors)...)
	for _, w := range a.Backends {
		name := "invalid"
		if w.Backend != nil {
			name = renderBackend(w.Backend)
		}
		parts = append(parts, fmt.Sprintf("%s*%d", name, w.Weight))
		if w.Backend != nil {
			if r := w.Backend.Settings().RetryBudget; r.Interval > 0 {
				parts = append(parts, fmt.Sprintf("retries %d%% of %s, %d in %s", r.Percent, r.Interval, r.MinCount, r.MinInterval))
			}
			parts = append(parts, renderSession(w.Backend.Settings().Session)...)
		}
		if r := w.Rewrite; r != nil {
			parts = append(parts, fmt.Sprintf("rewrite host %q path %d %q", r.Hostname, r.Path.Kind, r.Path.Value))
		}
		parts = append(parts, renderHeaders("request", w.RequestHeaders)...)
		parts = append(parts, renderHeaders("response", w.ResponseHeaders)...)
		parts = append(parts, renderMirrors(w.Mirrors)...)
	}
	return strings.Join(parts, ", ")
}

// renderAuth writes who is asked, and what about.
func renderAuth(a *router.ExternalAuth) string {
	name := "invalid"
	if a.Backend != nil {
		name = renderBackend(a.Backend)
	}
	kind := "http"
	if a.Protocol == router.AuthGRPC {
		kind = "grpc"
	}
	return fmt.Sprintf("asks %s %s path %q told %v keeps %v body %d after headers %t", kind, name, a.Path, a.RequestFields, a.ResponseFields, a.MaxBody, a.AfterHeaders)
}

// renderPolicies writes what an action does beyond one request to one Backend.
func renderPolicies(a *router.Action) []string {
	var parts []string
	if c := a.CORS; c != nil {
		parts = append(parts, fmt.Sprintf("cors origins %v methods %v headers %v expose %v credentials %t age %s",
			c.AllowOrigins, c.AllowMethods, c.AllowHeaders, c.ExposeHeaders, c.AllowCredentials, c.MaxAge))
	}
	if r := a.Retry; r != nil {
		parts = append(parts, fmt.Sprintf("retry %d times on %v after %s", r.Attempts, r.Codes, r.Backoff))
	}
	return append(parts, renderSession(a.Session)...)
}

func renderSession(s *router.Session) []string {
	if s == nil {
		return nil
	}
	kind := "cookie"
	if s.Header {
		kind = "header"
	}
	return []string{fmt.Sprintf("session %s %s path %q for %s permanent %t", kind, s.Name, s.Path, s.Absolute, s.Permanent)}
}

func renderMirrors(mirrors []router.Mirror) []string {
	var parts []string
	for _, m := range mirrors {
		parts = append(parts, fmt.Sprintf("mirror %d/%d %s", m.Numerator, m.Denominator, renderBackend(m.Backend)))
	}
	return parts
}

// renderBackend names a Backend, and what it speaks unless that is HTTP/1.1.
func renderBackend(b *router.Backend) string {
	if version := b.Settings().ProxyProtocol; version != router.NoProxyProtocol {
		return fmt.Sprintf("proxy-v%d %s", version, b.Name)
	}
	if b.Protocol() == router.HTTP1 {
		return b.Name
	}
	if t := b.TLS(); t != nil {
		return renderTLS(t) + " " + b.Name
	}
	return b.Protocol().String() + " " + b.Name
}

// renderTLS writes how endpoints are recognised, and how we are.
func renderTLS(t *router.BackendTLS) string {
	s := "https(" + t.ServerName
	if len(t.DNSNames)+len(t.URIs) > 0 {
		s += fmt.Sprintf(" as %v", slices.Concat(t.DNSNames, t.URIs))
	}
	if t.Roots == nil {
		s += " system"
	}
	if t.ALPN != nil {
		s += fmt.Sprintf(" offers %v", t.ALPN)
	}
	if t.Certificate != nil {
		leaf, err := x509.ParseCertificate(t.Certificate.Certificate[0])
		s += fmt.Sprintf(" shows %v %v", leaf.DNSNames, err)
	}
	return s + ")"
}

func renderHeaders(side string, f *router.HeaderFilter) []string {
	if f == nil {
		return nil
	}
	return []string{fmt.Sprintf("%s set %v add %v remove %v", side, f.Set, f.Add, f.Remove)}
}

func renderSockets(sockets []Socket) string {
	var s strings.Builder
	for _, socket := range sockets {
		fmt.Fprintf(&s, "%s %s", socket.Name, socket.Protocol)
		if socket.FreeBind {
			s.WriteString(" free bind")
		}
		if socket.ClientAuth != tls.NoClientCert {
			fmt.Fprintf(&s, " clients %v", socket.ClientAuth)
		}
		s.WriteString("\n")
		for _, c := range socket.Certificates {
			leaf, err := x509.ParseCertificate(c.Certificate.Certificate[0])
			fmt.Fprintf(&s, "\t%q %v %v\n", c.ServerName, leaf.DNSNames, err)
		}
	}
	return s.String()
}

func renderStatuses(statuses []*Status) string {
	var s strings.Builder
	conditions := func(indent string, list []metav1.Condition) {
		for _, c := range list {
			fmt.Fprintf(&s, "%s%s=%s %s: %s\n", indent, c.Type, c.Status, c.Reason, c.Message)
		}
	}
	listener := func(l gatewayv1.ListenerStatus) {
		var kinds []string
		for _, k := range l.SupportedKinds {
			kinds = append(kinds, string(k.Kind))
		}
		fmt.Fprintf(&s, "\tlistener %s: %d routes, kinds %v\n", l.Name, l.AttachedRoutes, kinds)
		conditions("\t\t", l.Conditions)
	}
	for _, status := range statuses {
		fmt.Fprintln(&s, status.Object)
		switch {
		case status.GatewayClass != nil:
			conditions("\t", status.GatewayClass.Conditions)
		case status.Gateway != nil:
			for _, a := range status.Gateway.Addresses {
				fmt.Fprintf(&s, "\taddress %s %s", *a.Type, a.Value)
				if a.Routability != nil {
					fmt.Fprintf(&s, " routability %q", *a.Routability)
				}
				s.WriteString("\n")
			}
			conditions("\t", status.Gateway.Conditions)
			for _, l := range status.Gateway.Listeners {
				listener(l)
			}
			if n := status.Gateway.AttachedListenerSets; n != nil {
				fmt.Fprintf(&s, "\t%d ListenerSets\n", *n)
			}
		case status.ListenerSet != nil:
			conditions("\t", status.ListenerSet.Conditions)
			for _, l := range status.ListenerSet.Listeners {
				listener(gatewayv1.ListenerStatus(l))
			}
		case status.Tunnel != nil:
			s.WriteString("\t" + strings.TrimSpace(fmt.Sprintf("%s %s %d %v %s", status.Tunnel.ID, status.Tunnel.Hostname, *status.Tunnel.Connected, status.Tunnel.Connections, status.Tunnel.LastError)) + "\n")
			conditions("\t", status.Tunnel.Conditions)
		case status.Route != nil:
			for _, p := range status.Route.Parents {
				fmt.Fprintf(&s, "\tparent %s %s\n", p.ParentRef.Name, valueOr(p.ParentRef.SectionName, ""))
				conditions("\t\t", p.Conditions)
			}
		case status.Policy != nil:
			for _, a := range status.Policy.Ancestors {
				fmt.Fprintf(&s, "\tancestor %s %s/%s\n", *a.AncestorRef.Kind, *a.AncestorRef.Namespace, a.AncestorRef.Name)
				conditions("\t\t", a.Conditions)
			}
		case status.Ingress != nil:
			for _, i := range status.Ingress.Ingress {
				fmt.Fprintf(&s, "\taddress %s%s\n", i.IP, i.Hostname)
			}
		}
	}
	return s.String()
}

func renderProblems(problems []Problem) string {
	var s bytes.Buffer
	for _, p := range problems {
		fmt.Fprintf(&s, "%s: %s [%s]\n", p.Object, p.text(), p.Reason)
	}
	return s.String()
}

// backendNames lists the Backends of a Plan.
func backendNames(p *Plan) []string {
	var names []string
	for backend := range maps.Values(p.Backends) {
		names = append(names, renderBackend(backend.Backend))
	}
	slices.Sort(names)
	return names
}
