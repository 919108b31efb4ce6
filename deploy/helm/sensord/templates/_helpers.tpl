{{- define "sensord.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "sensord.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sensord.labels" -}}
{{ include "sensord.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "sensord.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What all pods have in common. */}}
{{- define "sensord.pod" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
# A service called sensord would be told to pods as SENSORD_PORT, which is no setting.
enableServiceLinks: false
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "sensord.container" -}}
image: {{ include "sensord.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* A store.url in place of the settings' own; "": that one. */}}
{{- define "sensord.user" -}}
{{- with . -}}
env:
  - name: SENSORD_STORE__URL
    value: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "sensord.mounts" -}}
- name: config
  mountPath: /etc/sensord
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- end }}

{{/* secrets: the name of a secret, "" for none. tmp: its size. */}}
{{- define "sensord.volumes" -}}
- name: config
  configMap:
    name: {{ include "sensord.name" .root }}{{ .suffix }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .tmp }}
{{- with .secrets }}
- name: secrets
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
