package externaldns

import (
	"fmt"
	"slices"
	"strings"
)

// Annotations of Services.
const (
	annotationInternalHostname = "internal-hostname"
	annotationAccess           = "access"
	annotationEndpointsType    = "endpoints-type"
	accessPublic               = "public"
	accessPrivate              = "private"
	endpointsHostIP            = "HostIP"
	endpointsNodeExternalIP    = "NodeExternalIP"
)

// ServiceKind says by what a Service is reached.
type ServiceKind int

// Kinds of Services.
const (
	LoadBalancer ServiceKind = iota // by External
	ClusterIP                       // by Internal alone
	Headless                        // by Endpoints
	NodePort                        // by NodePorts of Nodes
	ExternalName                    // by External, another name
)

// Service is a Service of Kubernetes. Its annotations say its names: hostname, which lead to
// where it is reached from outside, and internal-hostname. What ExternalDNS makes of each kind
// of Service, this does too.
type Service struct {
	Resource    string // "service/NAMESPACE/NAME"
	Annotations map[string]string
	Kind        ServiceKind
	External    []string
	Internal    string // the cluster IP; empty without
	// PublishInternal lets hostname lead to the cluster IP where there is nothing else.
	PublishInternal bool
	// Nodes are those that traffic may be sent to, and NodePorts the ports there.
	Nodes     []Node
	NodePorts []Port
	// Endpoints are those that are ready.
	Endpoints []Endpoint
}

// Node is where a node is reached.
type Node struct{ External, Internal []string }

// Port is a port of all nodes.
type Port struct {
	Protocol string // "TCP"
	Number   int32
}

// Endpoint is one of those of a headless Service.
type Endpoint struct {
	Hostname string // of its Pod, which has a name of its own below that of the Service; may be empty
	Address  string
	Node     Node
}

// name is the name of the Service itself.
func (s *Service) name() string { return s.Resource[strings.LastIndex(s.Resource, "/")+1:] }

// records returns those of one Service.
func (s *Service) records() ([]Record, []Mistake) {
	var mistakes []Mistake
	mistake := func(annotation, reason string) {
		mistakes = append(mistakes, Mistake{s.Resource, annotation, reason})
	}
	own := annotations(s.Annotations)
	maker := recordMaker{s.Resource, own.settings(mistake)}
	targets := own.list(annotationTarget)
	var records []Record
	for _, hostname := range own.list(annotationHostname) {
		made := s.named(maker, hostname, targets)
		if s.Kind == ClusterIP && len(targets) == 0 {
			if !s.PublishInternal {
				_, full := own.get(annotationHostname)
				mistake(full, "the Service is reached from inside of Kubernetes alone: say internal-hostname, or set dns-publish-internal-services")
				break
			}
			made = maker.toRecords(canonicalName(hostname), s.internal())
		}
		records = append(records, made...)
	}
	for _, hostname := range own.list(annotationInternalHostname) {
		made := s.named(maker, hostname, targets)
		if (s.Kind == ClusterIP || s.Kind == LoadBalancer) && len(targets) == 0 {
			made = maker.toRecords(canonicalName(hostname), s.internal())
		}
		records = append(records, made...)
	}
	s.check(own, mistake)
	return records, mistakes
}

// check finds annotations whose values are none of those that there are.
func (s *Service) check(own annotations, mistake func(annotation, reason string)) {
	for name, values := range map[string][]string{
		annotationAccess: {accessPublic, accessPrivate}, annotationEndpointsType: {endpointsHostIP, endpointsNodeExternalIP},
	} {
		if value, full := own.get(name); full != "" && !slices.Contains(values, value) {
			mistake(full, fmt.Sprintf("%q is neither %s nor %s", value, values[0], values[1]))
		}
	}
}

func (s *Service) internal() []string {
	if s.Internal == "" {
		return nil
	}
	return []string{s.Internal}
}

// named returns the records of one name from outside, or those that lead to targets.
func (s *Service) named(m recordMaker, hostname string, targets []string) []Record {
	hostname = canonicalName(hostname)
	if len(targets) > 0 {
		return m.toRecords(hostname, targets)
	}
	switch s.Kind {
	case LoadBalancer, ExternalName:
		return m.toRecords(hostname, s.External)
	case NodePort:
		return append(m.toRecords(hostname, s.nodeAddresses()), s.ports(m, hostname)...)
	case Headless:
		return s.endpoints(m, hostname)
	case ClusterIP:
	}
	return nil
}

// nodeAddresses are the external addresses of nodes, or where there are none the internal
// ones; the annotation access asks for the ones or the others.
func (s *Service) nodeAddresses() []string {
	var external, internal []string
	for _, n := range s.Nodes {
		external, internal = append(external, n.External...), append(internal, n.Internal...)
	}
	switch access, _ := annotations(s.Annotations).get(annotationAccess); {
	case access == accessPrivate, access != accessPublic && len(external) == 0:
		return internal
	}
	return external
}

// ports returns the SRV records of the ports of nodes (RFC 2782).
func (s *Service) ports(m recordMaker, hostname string) []Record {
	var records []Record
	for _, p := range s.NodePorts {
		r := m.record(fmt.Sprintf("_%s._%s.%s", s.name(), strings.ToLower(p.Protocol), hostname), SRV)
		r.Targets = []string{fmt.Sprintf("0 50 %d %s.", p.Number, hostname)}
		records = append(records, r.Canonical())
	}
	return records
}

// endpoints returns the records of a headless Service: its name leads to all endpoints, and
// that of each Pod with a hostname to it.
func (s *Service) endpoints(m recordMaker, hostname string) []Record {
	kind, _ := annotations(s.Annotations).get(annotationEndpointsType)
	targets := map[string][]string{}
	names := []string{hostname}
	for _, e := range s.Endpoints {
		addresses := []string{e.Address}
		switch kind {
		case endpointsHostIP:
			addresses = e.Node.Internal[:min(1, len(e.Node.Internal))]
		case endpointsNodeExternalIP:
			addresses = e.Node.External
		}
		targets[hostname] = append(targets[hostname], addresses...)
		if e.Hostname != "" {
			name := e.Hostname + "." + hostname
			names = append(names, name)
			targets[name] = append(targets[name], addresses...)
		}
	}
	slices.Sort(names)
	var records []Record
	for _, name := range slices.Compact(names) {
		records = append(records, m.toRecords(name, targets[name])...)
	}
	return records
}
