{{- /* Lintel's configuration file. Helm reads every number as a float: whole ones are written as such. */ -}}
{{- define "lintel.settings" -}}
{{- with include "lintel.publishService" . }}
publishService: {{ . }}
{{- end }}
{{- range $key, $value := .Values.settings }}
{{- if kindIs "float64" $value }}
{{ $key }}: {{ int64 $value }}
{{- else }}
{{ $key }}: {{ toJson $value }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The Service whose addresses stand in status: the chart's own, unless the settings say otherwise. */ -}}
{{- define "lintel.publishService" -}}
{{- $settings := .Values.settings -}}
{{- if and (eq .Values.exposure "LoadBalancer") (not $settings.publishAddress) (not $settings.publishService) (not $settings.watchNamespaces) -}}
{{ .Release.Namespace }}/{{ include "lintel.name" . }}
{{- end -}}
{{- end -}}

{{- /* Whether Lintel puts addresses of a pool on the node and announces them. */ -}}
{{- define "lintel.announces" -}}
{{- if .Values.settings.addressPools }}true{{ end -}}
{{- end -}}

{{- /* What Lintel attaches to the node's kernel: eBPF features that were asked for, and not where they are available anyway. */ -}}
{{- define "lintel.bpf" -}}
{{- if or (has (toString .Values.settings.socketLb) (list "self" "node")) (eq (toString .Values.settings.hostPorts) "sk_lookup") (has (toString .Values.settings.flowRecords) (list "self" "node")) }}true{{ end -}}
{{- end -}}

{{- /* Whether that outlives the Pod, or is not the Pod's alone: it takes the node's bpffs and cgroups. */ -}}
{{- define "lintel.bpfOfNode" -}}
{{- if eq (toString .Values.settings.socketLb) "node" }}true{{ end -}}
{{- end -}}

{{- /* Whether it looks at cgroups that are not the Pod's. */ -}}
{{- define "lintel.cgroupsOfNode" -}}
{{- if or (include "lintel.bpfOfNode" .) (eq (toString .Values.settings.flowRecords) "node") }}true{{ end -}}
{{- end -}}

{{- define "lintel.capabilities" -}}
NET_BIND_SERVICE
{{- if or (include "lintel.announces" .) (include "lintel.bpf" .) }}, NET_ADMIN{{ end }}
{{- if include "lintel.announces" . }}, NET_RAW{{ end }}
{{- if include "lintel.bpf" . }}, BPF{{ end }}
{{- end -}}

{{- /* Seconds of the setting drainTimeout, such as 25s, 1m30s or 1h, rounded up. */ -}}
{{- define "lintel.drainSeconds" -}}
{{- $text := default "25s" .Values.settings.drainTimeout | toString -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9.]+(ns|us|µs|ms|h|m|s)" $text -1 -}}
{{- $number := regexFind "[0-9.]+" . | float64 -}}
{{- $unit := regexFind "[^0-9.]+" . -}}
{{- $seconds = addf $seconds (mulf $number (get (dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001) $unit | default 0.0)) -}}
{{- end -}}
{{ ceil $seconds | int64 }}
{{- end -}}

{{- define "lintel.shutdownDelay" -}}
{{- if kindIs "invalid" .Values.shutdownDelaySeconds -}}
{{ ternary 10 0 (eq .Values.exposure "LoadBalancer") }}
{{- else -}}
{{ int .Values.shutdownDelaySeconds }}
{{- end -}}
{{- end -}}

{{- /* Ports that are reachable from outside: those of the values, and those of the DNS responder. */ -}}
{{- define "lintel.ports" -}}
{{- $ports := deepCopy (default dict .Values.ports) -}}
{{- range .Values.settings.dnsResponderAddress -}}
{{- $port := regexFind "[0-9]+$" . | int -}}
{{- $_ := set $ports (printf "dns-%d" $port) (dict "port" $port "protocol" "UDP") -}}
{{- $_ := set $ports (printf "dns-tcp-%d" $port) (dict "port" $port "protocol" "TCP") -}}
{{- end -}}
{{ toYaml $ports }}
{{- end -}}

{{- /* Mistakes that a schema can't find. */ -}}
{{- define "lintel.check" -}}
{{- if ne .Values.exposure "HostNetwork" -}}
{{- range $address := .Values.settings.dnsResponderAddress -}}
{{- $port := regexFind "[0-9]+$" $address -}}
{{- if not (hasPrefix ":" $address) -}}
{{- fail (printf "settings.dnsResponderAddress has %q, and a Pod has other addresses: write \":%s\", or set exposure: HostNetwork" $address $port) -}}
{{- end -}}
{{- range $name, $taken := $.Values.ports -}}
{{- if eq (int $taken.port) (int $port) -}}
{{- fail (printf "settings.dnsResponderAddress and ports.%s both have port %s: take it out of ports" $name $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (include "lintel.announces" .) (ne .Values.exposure "HostNetwork") -}}
{{- fail "settings.addressPools needs exposure: HostNetwork, because addresses are put on the node's own interfaces" -}}
{{- end -}}
{{- if and (eq (toString .Values.settings.hostPorts) "sk_lookup") (ne .Values.exposure "HostNetwork") -}}
{{- fail "settings.hostPorts: sk_lookup needs exposure: HostNetwork, because it is the node's ports that it receives for" -}}
{{- end -}}
{{- if and .Values.gatewayClass.create .Values.settings.gatewayClass (not (has .Values.gatewayClass.name .Values.settings.gatewayClass)) -}}
{{- fail (printf "settings.gatewayClass does not have %q, which gatewayClass.create makes: add it, or set gatewayClass.create to false" .Values.gatewayClass.name) -}}
{{- end -}}
{{- if and .Values.ingressClass.create .Values.settings.ingressClass (not (has .Values.ingressClass.name .Values.settings.ingressClass)) -}}
{{- fail (printf "settings.ingressClass does not have %q, which ingressClass.create makes: add it, or set ingressClass.create to false" .Values.ingressClass.name) -}}
{{- end -}}
{{- end -}}

{{- /* Whether Lintel orders certificates. */ -}}
{{- define "lintel.orders" -}}
{{- if or .Values.settings.acmeSolver .Values.settings.acmeIssuers }}true{{ end -}}
{{- end -}}
