package manifest

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The kinds of Kubernetes itself have no schema that could be taken along, so the
// defaults and checks that matter to a gateway are written out here, in the words
// of an API server. One difference is on purpose: an EndpointSlice may name a
// loopback address, because without a cluster a backend may well run beside Lintel.

func completeService(o object) {
	spec := &o.(*corev1.Service).Spec
	if spec.Type == "" {
		spec.Type = corev1.ServiceTypeClusterIP
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
}

func checkService(o object) (errs field.ErrorList) {
	spec := &o.(*corev1.Service).Spec
	path := field.NewPath("spec", "ports")
	if len(spec.Ports) == 0 && spec.ClusterIP != corev1.ClusterIPNone && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(path, ""))
	}
	switch spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName:
	default:
		errs = append(errs, field.NotSupported(field.NewPath("spec", "type"), spec.Type, []corev1.ServiceType{
			corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort,
		}))
	}
	names, ports := make(map[string]bool), make(map[string]bool)
	for i := range spec.Ports {
		p, path := &spec.Ports[i], path.Index(i)
		errs = append(errs, checkPortName(p.Name, len(spec.Ports) > 1, names, path)...)
		errs = append(errs, checkPort(p.Port, path.Child("port"))...)
		errs = append(errs, checkProtocol(p.Protocol, path)...)
		if p.TargetPort.Type == intstr.Int {
			errs = append(errs, checkPort(p.TargetPort.IntVal, path.Child("targetPort"))...)
		} else {
			for _, msg := range validation.IsValidPortName(p.TargetPort.StrVal) {
				errs = append(errs, field.Invalid(path.Child("targetPort"), p.TargetPort.StrVal, msg))
			}
		}
		key := fmt.Sprintf("%s/%d", p.Protocol, p.Port)
		if ports[key] {
			errs = append(errs, field.Duplicate(path, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		}
		ports[key] = true
	}
	return errs
}

// checkPortName checks the name of one of a list of ports; seen collects them.
func checkPortName(name string, required bool, seen map[string]bool, path *field.Path) (errs field.ErrorList) {
	path = path.Child("name")
	switch {
	case name == "" && required:
		return field.ErrorList{field.Required(path, "")}
	case name == "":
		return nil
	case seen[name]:
		errs = append(errs, field.Duplicate(path, name))
	}
	seen[name] = true
	for _, msg := range validation.IsDNS1123Label(name) {
		errs = append(errs, field.Invalid(path, name, msg))
	}
	return errs
}

func checkPort(port int32, path *field.Path) (errs field.ErrorList) {
	for _, msg := range validation.IsValidPortNum(int(port)) {
		errs = append(errs, field.Invalid(path, port, msg))
	}
	return errs
}

func checkProtocol(protocol corev1.Protocol, path *field.Path) field.ErrorList {
	switch protocol {
	case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
		return nil
	}
	return field.ErrorList{field.NotSupported(path.Child("protocol"), protocol,
		[]corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP})}
}

func completeEndpointSlice(o object) {
	ports := o.(*discoveryv1.EndpointSlice).Ports
	for i := range ports {
		if ports[i].Name == nil {
			ports[i].Name = new("")
		}
		if ports[i].Protocol == nil {
			ports[i].Protocol = new(corev1.ProtocolTCP)
		}
	}
}

func checkEndpointSlice(o object) (errs field.ErrorList) {
	slice := o.(*discoveryv1.EndpointSlice)
	supported := []discoveryv1.AddressType{discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
	switch slice.AddressType {
	case "":
		return field.ErrorList{field.Required(field.NewPath("addressType"), "")}
	case discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
	default:
		return field.ErrorList{field.NotSupported(field.NewPath("addressType"), slice.AddressType, supported)}
	}
	names := make(map[string]bool)
	for i, p := range slice.Ports {
		path := field.NewPath("ports").Index(i)
		errs = append(errs, checkPortName(*p.Name, len(slice.Ports) > 1, names, path)...)
		errs = append(errs, checkProtocol(*p.Protocol, path)...)
		if p.Port != nil {
			errs = append(errs, checkPort(*p.Port, path.Child("port"))...)
		}
	}
	for i := range slice.Endpoints {
		path := field.NewPath("endpoints").Index(i).Child("addresses")
		if len(slice.Endpoints[i].Addresses) == 0 {
			errs = append(errs, field.Required(path, "must contain at least 1 address"))
		}
		for j, address := range slice.Endpoints[i].Addresses {
			errs = append(errs, checkAddress(slice.AddressType, address, path.Index(j))...)
		}
	}
	return errs
}

func checkAddress(t discoveryv1.AddressType, address string, path *field.Path) (errs field.ErrorList) {
	if t == discoveryv1.AddressTypeFQDN {
		return validation.IsFullyQualifiedDomainName(path, address)
	}
	ip, err := netip.ParseAddr(address)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")}
	case t == discoveryv1.AddressTypeIPv4 && !ip.Is4():
		return field.ErrorList{field.Invalid(path, address, "must be an IPv4 address")}
	case t == discoveryv1.AddressTypeIPv6 && !ip.Is6():
		return field.ErrorList{field.Invalid(path, address, "must be an IPv6 address")}
	case ip.IsUnspecified():
		return field.ErrorList{field.Invalid(path, address, "may not be unspecified ("+address+")")}
	}
	return nil
}

// completeSecret merges stringData into data, where it wins.
func completeSecret(o object) {
	secret := o.(*corev1.Secret)
	if secret.Type == "" {
		secret.Type = corev1.SecretTypeOpaque
	}
	if len(secret.StringData) > 0 && secret.Data == nil {
		secret.Data = make(map[string][]byte, len(secret.StringData))
	}
	for name, value := range secret.StringData {
		secret.Data[name] = []byte(value)
	}
	secret.StringData = nil
}

func checkSecret(o object) (errs field.ErrorList) {
	secret := o.(*corev1.Secret)
	path := field.NewPath("data")
	for name := range secret.Data {
		errs = append(errs, checkDataKey(name, path)...)
	}
	if secret.Type == corev1.SecretTypeTLS {
		for _, name := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if _, ok := secret.Data[name]; !ok {
				errs = append(errs, field.Required(path.Key(name), ""))
			}
		}
	}
	return errs
}

func checkConfigMap(o object) (errs field.ErrorList) {
	m := o.(*corev1.ConfigMap)
	for name := range m.Data {
		errs = append(errs, checkDataKey(name, field.NewPath("data"))...)
		if _, both := m.BinaryData[name]; both {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(name), name, "duplicate of key present in binaryData"))
		}
	}
	for name := range m.BinaryData {
		errs = append(errs, checkDataKey(name, field.NewPath("binaryData"))...)
	}
	return errs
}

func checkClusterTrustBundle(o object) (errs field.ErrorList) {
	path := field.NewPath("spec", "trustBundle")
	rest := []byte(o.(*certificatesv1.ClusterTrustBundle).Spec.TrustBundle)
	found := false
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		found = true
		c, err := x509.ParseCertificate(block.Bytes)
		switch {
		case block.Type != "CERTIFICATE":
			errs = append(errs, field.Invalid(path, "<value omitted>", fmt.Sprintf("must be certificates alone, and holds a %q", block.Type)))
		case err != nil:
			errs = append(errs, field.Invalid(path, "<value omitted>", fmt.Sprintf("must be certificates: %v", err)))
		case !c.IsCA:
			errs = append(errs, field.Invalid(path, "<value omitted>", "must be certificates of authorities (basic constraints with CA true)"))
		}
	}
	if !found {
		errs = append(errs, field.Required(path, "must be at least one certificate in PEM"))
	}
	return errs
}

func checkDataKey(name string, path *field.Path) (errs field.ErrorList) {
	for _, msg := range validation.IsConfigMapKey(name) {
		errs = append(errs, field.Invalid(path.Key(name), name, msg))
	}
	return errs
}

func completeNamespace(o object) {
	labels := maps.Clone(o.GetLabels())
	if labels == nil {
		labels = make(map[string]string, 1)
	}
	labels[corev1.LabelMetadataName] = o.GetName()
	o.SetLabels(labels)
}

// namespace returns the Namespace that using one implies.
func namespace(name string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	completeNamespace(n)
	return n
}

func checkIngressClass(o object) field.ErrorList {
	class := o.(*networkingv1.IngressClass)
	if class.Spec.Controller == "" {
		return field.ErrorList{field.Required(field.NewPath("spec", "controller"), "")}
	}
	return nil
}

func checkIngress(o object) (errs field.ErrorList) {
	spec, path := &o.(*networkingv1.Ingress).Spec, field.NewPath("spec")
	if len(spec.Rules) == 0 && spec.DefaultBackend == nil {
		errs = append(errs, field.Invalid(path, spec.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if spec.DefaultBackend != nil {
		errs = append(errs, checkIngressBackend(spec.DefaultBackend, path.Child("defaultBackend"))...)
	}
	for i := range spec.TLS {
		for j, host := range spec.TLS[i].Hosts {
			errs = append(errs, checkIngressHost(host, path.Child("tls").Index(i).Child("hosts").Index(j))...)
		}
	}
	for i := range spec.Rules {
		rule, path := &spec.Rules[i], path.Child("rules").Index(i)
		if rule.Host != "" {
			errs = append(errs, checkIngressHost(rule.Host, path.Child("host"))...)
		}
		if rule.HTTP == nil {
			continue
		}
		path = path.Child("http", "paths")
		if len(rule.HTTP.Paths) == 0 {
			errs = append(errs, field.Required(path, ""))
		}
		for j := range rule.HTTP.Paths {
			errs = append(errs, checkIngressPath(&rule.HTTP.Paths[j], path.Index(j))...)
		}
	}
	return errs
}

func checkIngressHost(host string, path *field.Path) (errs field.ErrorList) {
	if _, err := netip.ParseAddr(host); err == nil {
		return field.ErrorList{field.Invalid(path, host, "must be a DNS name, not an IP address")}
	}
	check := validation.IsDNS1123Subdomain
	if strings.Contains(host, "*") {
		check = validation.IsWildcardDNS1123Subdomain
	}
	for _, msg := range check(host) {
		errs = append(errs, field.Invalid(path, host, msg))
	}
	return errs
}

func checkIngressPath(p *networkingv1.HTTPIngressPath, path *field.Path) (errs field.ErrorList) {
	switch {
	case p.PathType == nil:
		errs = append(errs, field.Required(path.Child("pathType"), "pathType must be specified"))
	case *p.PathType == networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && p.Path[0] != '/' {
			errs = append(errs, field.Invalid(path.Child("path"), p.Path, "must be an absolute path"))
		}
	case *p.PathType == networkingv1.PathTypeExact || *p.PathType == networkingv1.PathTypePrefix:
		errs = append(errs, checkStrictPath(p.Path, path.Child("path"))...)
	default:
		errs = append(errs, field.NotSupported(path.Child("pathType"), *p.PathType, []networkingv1.PathType{
			networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix,
		}))
	}
	return append(errs, checkIngressBackend(&p.Backend, path.Child("backend"))...)
}

func checkStrictPath(value string, path *field.Path) (errs field.ErrorList) {
	if !strings.HasPrefix(value, "/") {
		errs = append(errs, field.Invalid(path, value, "must be an absolute path"))
	}
	for _, seq := range []string{"//", "/./", "/../", "%2f", "%2F"} {
		if strings.Contains(value, seq) {
			errs = append(errs, field.Invalid(path, value, "must not contain '"+seq+"'"))
		}
	}
	for _, end := range []string{"/..", "/."} {
		if strings.HasSuffix(value, end) {
			errs = append(errs, field.Invalid(path, value, "cannot end with '"+end+"'"))
		}
	}
	return errs
}

func checkIngressBackend(b *networkingv1.IngressBackend, path *field.Path) (errs field.ErrorList) {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(path, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return nil
	case b.Service == nil:
		return field.ErrorList{field.Required(path, "resource or service backend is required")}
	}
	path = path.Child("service")
	if b.Service.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	} else {
		for _, msg := range validation.IsDNS1035Label(b.Service.Name) {
			errs = append(errs, field.Invalid(path.Child("name"), b.Service.Name, msg))
		}
	}
	port, path := b.Service.Port, path.Child("port")
	switch {
	case port.Name != "" && port.Number != 0:
		errs = append(errs, field.Invalid(path, "", "cannot set both port name & port number"))
	case port.Name != "":
		for _, msg := range validation.IsValidPortName(port.Name) {
			errs = append(errs, field.Invalid(path.Child("name"), port.Name, msg))
		}
	case port.Number == 0:
		errs = append(errs, field.Required(path, "port name or number is required"))
	default:
		errs = append(errs, checkPort(port.Number, path.Child("number"))...)
	}
	return errs
}
