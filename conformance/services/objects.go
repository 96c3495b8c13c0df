package main

// Addresses of Services. The node's kubelet tells Pods to ask the DNS.
const (
	kubernetesAddress = "10.96.0.1"
	dnsAddress        = "10.96.0.10"
	webAddress        = "10.96.0.20"
	emptyAddress      = "10.96.0.30"
	externalAddress   = "192.0.2.77"
	nodeAddress       = "10.89.0.1"
	nodePort          = "30080"
)

// objects are what the Services are shown with: Pods that are only ready while they serve,
// and go on for a while when they are told to end.
const objects = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: ` + podImage + `
        imagePullPolicy: Never
        args: [` + serveCommand + `]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: client, image: "` + podImage + `", imagePullPolicy: Never, args: [` + idleCommand + `]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  clusterIP: ` + webAddress + `
  externalIPs: [` + externalAddress + `]
  ports:
  - {name: name, port: 80, targetPort: 8080, nodePort: ` + nodePort + `}
  - {name: echo, port: 90, targetPort: 9090, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: default}
spec:
  selector: {app: web}
  clusterIP: ` + dnsAddress + `
  ports: [{name: dns, port: 53, targetPort: 5353, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {selector: {app: nobody}, clusterIP: ` + emptyAddress + `, ports: [{port: 80}]}
`
