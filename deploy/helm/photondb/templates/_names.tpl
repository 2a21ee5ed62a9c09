{{/* The names of everything begin with this. */}}
{{- define "photondb.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end }}

{{/* Labels by which the pods of the chart are chosen. */}}
{{- define "photondb.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "photondb.labels" -}}
{{ include "photondb.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "photondb.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What is between the clients and the other services: fronts, or gateways and query services. */}}
{{- define "photondb.clientComponents" -}}
{{ if .Values.front.replicas }}front{{ else }}gateway query{{ end }}
{{- end }}

{{/* The one of them that clients connect to. */}}
{{- define "photondb.entrance" -}}
{{ include "photondb.clientComponents" . | splitList " " | first }}
{{- end }}

{{/* The Services that the others call, with their ports, as YAML. */}}
{{- define "photondb.called" -}}
{{- if not .Values.front.replicas }}
query: 28101
{{- end }}
storage: 28102
auth: 28103
changefeed: 28104
{{- end }}

{{/* Where the storage nodes are, by their numbers. */}}
{{- define "photondb.storageAddresses" -}}
{{- $name := printf "%s-storage" (include "photondb.fullname" .) }}
{{- range $number := until (int .Values.storage.nodes) }}{{ if $number }},{{ end }}tcp:{{ $name }}-{{ $number }}.{{ $name }}:28102{{ end }}
{{- end }}

{{- define "photondb.adminSecret" -}}
{{ .Values.adminPassword.existingSecret | default (printf "%s-admin" (include "photondb.fullname" .)) }}
{{- end }}
