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

{{/* Where the storage nodes are, by their numbers. */}}
{{- define "photondb.storageAddresses" -}}
{{- $name := printf "%s-storage" (include "photondb.fullname" .) }}
{{- range $number := until (int .Values.storage.nodes) }}{{ if $number }},{{ end }}tcp:{{ $name }}-{{ $number }}.{{ $name }}:28102{{ end }}
{{- end }}

{{- define "photondb.adminSecret" -}}
{{ .Values.adminPassword.existingSecret | default (printf "%s-admin" (include "photondb.fullname" .)) }}
{{- end }}
