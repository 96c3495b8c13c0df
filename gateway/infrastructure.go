package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Infrastructure is what stands for a Gateway inside the cluster: a Service without
// selector, under whose name Pods reach the Gateway. It carries the labels and
// annotations of spec.infrastructure (GEP-1867, GEP-1762). A Gateway that wants none has
// one too, so that what is left from before is taken away: see [Infrastructure.None].
type Infrastructure struct {
	Gateway ObjectRef
	UID     types.UID // of the Gateway
	// Name is that of the Service, in the Gateway's namespace: "<gateway>-<class>",
	// shortened if it is too long for the name of a Service.
	Name                string
	Labels, Annotations map[string]string
	Ports               []InfrastructurePort // sorted
	// Addresses are those of the Gateway's status that can be endpoints: IP addresses
	// that are neither loopback nor link-local.
	Addresses []netip.Addr
}

// None reports whether the Gateway wants no Service.
func (i *Infrastructure) None() bool { return len(i.Ports) == 0 }

// InfrastructurePort is a port that the Gateway listens on.
type InfrastructurePort struct {
	Name     string // "tcp-80"
	Protocol corev1.Protocol
	Port     int32
}

// infrastructure wants a Service for every Gateway that is accepted, if the settings do.
func (b *build) infrastructure(nodes []string) {
	for _, g := range b.gateways {
		ports := g.ports()
		if !b.Settings.GatewayServices || g.refused != nil || len(ports) == 0 || !g.isLocal() && g.tunnel != nil {
			b.plan.Infrastructure = append(b.plan.Infrastructure, Infrastructure{Gateway: g.ref, UID: g.UID})
			continue
		}
		want := Infrastructure{
			Gateway: g.ref, UID: g.UID, Ports: ports,
			Name:   infrastructureName(g.Name, string(g.Spec.GatewayClassName)),
			Labels: make(map[string]string), Annotations: make(map[string]string),
		}
		if i := g.Spec.Infrastructure; i != nil {
			for key, value := range i.Labels {
				want.Labels[string(key)] = string(value)
			}
			for key, value := range i.Annotations {
				want.Annotations[string(key)] = string(value)
			}
		}
		want.Labels[gatewayv1.GatewayNameLabelKey] = shorten(g.Name, validation.LabelValueMaxLength)
		shown, _ := g.shownAddresses(nodes)
		for _, a := range shown {
			if ip, err := netip.ParseAddr(a.value); err == nil && ip.IsGlobalUnicast() {
				want.Addresses = append(want.Addresses, ip)
			}
		}
		slices.SortFunc(want.Addresses, netip.Addr.Compare)
		b.plan.Infrastructure = append(b.plan.Infrastructure, want)
	}
	slices.SortFunc(b.plan.Infrastructure, func(x, y Infrastructure) int { return x.Gateway.compare(y.Gateway) })
}

// noService is the condition of a Gateway whose Service has a name that is somebody else's.
// There is no condition where all is well.
func (b *build) noService(g *boundGateway) (condition, bool) {
	why := b.Observed.Infrastructure[g.ref]
	if why == "" || !b.Settings.GatewayServices {
		return condition{}, false
	}
	p := Problem{g.ref, "metadata.name", reasonNameTaken, why}
	b.report(p)
	c := fault(conditionNoService, p)
	c.status = metav1.ConditionTrue
	return c, true
}

// Lintel's own condition of a Gateway: it is present, and True, while Pods do not reach the
// Gateway by the Service that it should have.
const (
	conditionNoService = annotationPrefix + "NoService"
	reasonNameTaken    = "NameTaken"
)

// ports are those of the Gateway's Listeners, and of its ListenerSets', that are served.
func (g *boundGateway) ports() []InfrastructurePort {
	listeners := slices.Clone(g.listeners)
	for _, s := range g.sets {
		listeners = append(listeners, s.listeners...)
	}
	found := make(map[string]InfrastructurePort)
	for _, l := range listeners {
		if l.refused != nil || l.conflict != nil {
			continue
		}
		protocol := corev1.ProtocolTCP
		if l.Protocol == gatewayv1.UDPProtocolType {
			protocol = corev1.ProtocolUDP
		}
		name := strings.ToLower(string(protocol)) + "-" + strconv.Itoa(int(l.Port))
		found[name] = InfrastructurePort{Name: name, Protocol: protocol, Port: l.Port}
	}
	names := slices.Sorted(maps.Keys(found))
	ports := make([]InfrastructurePort, 0, len(names))
	for _, name := range names {
		ports = append(ports, found[name])
	}
	return ports
}

// infrastructureName makes the name of a Service: no dots, a letter first, and no more
// than 63 characters.
func infrastructureName(gateway, class string) string {
	whole := gateway + "-" + class
	name := strings.ReplaceAll(whole, ".", "-")
	if name[0] >= '0' && name[0] <= '9' {
		name = "gateway-" + name
	}
	if name == whole {
		return shorten(name, validation.DNS1035LabelMaxLength)
	}
	return shorten(name+"-"+digest(whole), validation.DNS1035LabelMaxLength) // a.b and a-b differ
}

// shorten cuts a name that is too long, and makes up for it by a digest of the whole.
func shorten(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	end := "-" + digest(name)
	return strings.TrimRight(name[:limit-len(end)], "-.") + end
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}
