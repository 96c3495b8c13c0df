{{- /* The name of every object but the classes: "lintel" for a release of that name, or as the chart is told by its release. */ -}}
{{- define "lintel.name" -}}
{{- if contains "lintel" .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-lintel" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- /* Of objects that no namespace holds: two releases of one name may be in two namespaces. */ -}}
{{- define "lintel.clusterName" -}}
{{- if eq (include "lintel.name" .) .Release.Namespace -}}
{{ include "lintel.name" . }}
{{- else -}}
{{ printf "%s-%s" .Release.Namespace (include "lintel.name" .) | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "lintel.selector" -}}
app.kubernetes.io/name: lintel
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lintel.labels" -}}
{{ include "lintel.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: gateway
app.kubernetes.io/part-of: lintel
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "lintel.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "lintel.name" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "lintel.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}
