package instance

import (
	"fmt"
	"net"
	"strings"
)

// Class is the YAML of the GatewayClass "lintel".
const Class = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: lintel}
spec: {controllerName: lintel.dev/gateway-controller}
`

// PlainGateway is the YAML of a Gateway "web" and its class, with a Listener "http" at the
// port of an address. More Listeners can be appended.
func PlainGateway(address string) string {
	return Together(Class, fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: lintel
  listeners:
  - {name: http, port: %s, protocol: HTTP}
`, portOf(address)))
}

// Gateway is PlainGateway with another Listener "https", which serves the certificate of
// Certificate.
func Gateway(plain, secure string) string {
	return PlainGateway(plain) + fmt.Sprintf(`  - {name: https, port: %s, protocol: HTTPS, tls: {certificateRefs: [{name: certificate}]}}
`, portOf(secure))
}

// Service is the YAML of a Service with port 80, which leads to an address.
func Service(name, address string) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: %[3]s}]
endpoints: [{addresses: [%[2]s]}]
`, name, host, port)
}

// Certificate is the YAML of the Secret that the Gateway's certificate, in PEM, is in.
func Certificate(certificate, key []byte) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: certificate}
type: kubernetes.io/tls
stringData:
  tls.crt: %q
  tls.key: %q
`, certificate, key)
}

// Together makes one file of several.
func Together(documents ...string) string { return strings.Join(documents, "---\n") }

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
