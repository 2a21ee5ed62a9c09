{{/*
The pod of a service. Takes a dictionary: root is the chart, name the service.
*/}}
{{- define "photondb.pod" -}}
{{- $root := .root }}
{{- $values := index $root.Values .name }}
{{- $fullname := include "photondb.fullname" $root }}
{{- $called := include "photondb.called" $root | fromYaml }}
{{- $isEntrance := eq .name (include "photondb.entrance" $root) }}
{{- $runsQueries := has .name (list "query" "front") }}
metadata:
  labels:
    {{- include "photondb.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
    photondb/telemetry: "true"
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 30
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $values.affinity }}
  affinity:
    {{- toYaml $values.affinity | nindent 4 }}
  {{- else if gt (int ($values.replicas | default $values.nodes | default 1)) 1 }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "photondb.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ .name }}
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "photondb.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      command: [python, -m, services.{{ .name }}]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      env:
        - {name: PHOTONDB_LOG_LEVEL, value: {{ $root.Values.logLevel }}}
        - {name: PHOTONDB_TELEMETRY_BIND, value: "0.0.0.0"}
        - {name: PHOTONDB_TELEMETRY_PORT, value: "28100"}
        {{- range $service, $port := $called }}
        - name: PHOTONDB_{{ upper $service }}_ADDRESS
          value: tcp:{{ if eq $service $.name }}0.0.0.0{{ else }}{{ $fullname }}-{{ $service }}{{ end }}:{{ $port }}
        {{- end }}
        {{- if gt (int $root.Values.storage.nodes) 1 }}
        - {name: PHOTONDB_STORAGE_ADDRESSES, value: {{ include "photondb.storageAddresses" $root | quote }}}
        {{- if eq .name "storage" }}
        - {name: PHOTONDB_STORAGE_NODE, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        {{- end }}
        {{- end }}
        {{- if $root.Values.nats.enabled }}
        - {name: PHOTONDB_NATS_URL, value: "nats://{{ $fullname }}-nats:4222"}
        {{- else if $root.Values.nats.existingSecret }}
        - {name: PHOTONDB_NATS_URL_FILE, value: /run/secrets/nats/url}
        {{- else }}
        - {name: PHOTONDB_NATS_URL, value: {{ $root.Values.nats.url | quote }}}
        {{- end }}
        {{- if eq .name "auth" }}
        - {name: PHOTONDB_ADMIN_PASSWORD_FILE, value: /run/secrets/admin/password}
        {{- end }}
        {{- if eq .name "storage" }}
        # Not the volume's root, where file systems may have a folder of their own.
        - {name: PHOTONDB_DATA_DIR, value: /var/lib/photondb/data}
        {{- end }}
        {{- if $runsQueries }}
        - {name: PHOTONDB_SPILL_DIR, value: /var/lib/photondb/spill}
        - {name: PHOTONDB_SPILL_BYTES, value: {{ $values.spillBytes | int64 | quote }}}
        {{- end }}
        {{- if and (eq .name "storage") $values.cacheBytes }}
        - {name: PHOTONDB_CACHE_BYTES, value: {{ $values.cacheBytes | int64 | quote }}}
        {{- end }}
        {{- if $root.Values.tls.existingSecret }}
        - {name: PHOTONDB_RPC_TLS_CERT, value: /run/secrets/tls/tls.crt}
        - {name: PHOTONDB_RPC_TLS_KEY, value: /run/secrets/tls/tls.key}
        - {name: PHOTONDB_RPC_TLS_CA, value: /run/secrets/tls/ca.crt}
        {{- end }}
        {{- with $root.Values.tracing.endpoint }}
        - {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
        - {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
        - {name: OTEL_TRACES_SAMPLER_ARG, value: {{ $root.Values.tracing.ratio | quote }}}
        {{- end }}
        {{- range $name, $value := $root.Values.env }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
      ports:
        - {name: telemetry, containerPort: 28100}
        {{- if $isEntrance }}
        - {name: driver, containerPort: 28015}
        - {name: http, containerPort: 8080}
        {{- else }}
        - {name: rpc, containerPort: {{ index $called .name }}}
        {{- end }}
      # Alive is who answers at all; ready is who reaches the services that it needs.
      startupProbe:
        httpGet: {path: /health, port: telemetry}
        periodSeconds: 2
        failureThreshold: 150
      livenessProbe:
        httpGet: {path: /health, port: telemetry}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /health/ready, port: telemetry}
        periodSeconds: 3
        timeoutSeconds: 3
        failureThreshold: 2
      {{- if $isEntrance }}
      # Clients are sent elsewhere before the port closes.
      lifecycle: {preStop: {exec: {command: [sleep, "5"]}}}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if eq .name "storage" }}
        - {name: data, mountPath: /var/lib/photondb}
        {{- end }}
        {{- if $runsQueries }}
        - {name: spill, mountPath: /var/lib/photondb}
        {{- end }}
        {{- if eq .name "auth" }}
        - {name: admin, mountPath: /run/secrets/admin, readOnly: true}
        {{- end }}
        {{- if $root.Values.tls.existingSecret }}
        - {name: tls, mountPath: /run/secrets/tls, readOnly: true}
        {{- end }}
        {{- if and (not $root.Values.nats.enabled) $root.Values.nats.existingSecret }}
        - {name: nats, mountPath: /run/secrets/nats, readOnly: true}
        {{- end }}
  volumes:
    - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
    {{- if $runsQueries }}
    - {name: spill, emptyDir: {}}
    {{- end }}
    {{- if eq .name "auth" }}
    - name: admin
      secret:
        secretName: {{ include "photondb.adminSecret" $root }}
        items: [{key: {{ $root.Values.adminPassword.key }}, path: password}]
    {{- end }}
    {{- with $root.Values.tls.existingSecret }}
    - {name: tls, secret: {secretName: {{ . }}}}
    {{- end }}
    {{- if and (not $root.Values.nats.enabled) $root.Values.nats.existingSecret }}
    - name: nats
      secret:
        secretName: {{ $root.Values.nats.existingSecret }}
        items: [{key: {{ $root.Values.nats.key }}, path: url}]
    {{- end }}
{{- end }}
