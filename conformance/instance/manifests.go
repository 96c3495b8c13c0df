package instance

import (
	"fmt"
	"strings"
)

// Gateway is the YAML of a Gateway "web" and its class, with a Listener "http" and a
// Listener "https" at two ports, which serves the certificate of Certificate.
func Gateway(plain, secure string) string {
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: lintel}
spec: {controllerName: lintel.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: lintel
  listeners:
  - {name: http, port: %s, protocol: HTTP}
  - {name: https, port: %s, protocol: HTTPS, tls: {certificateRefs: [{name: certificate}]}}
`, plain, secure)
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
