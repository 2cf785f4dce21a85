{{/* Beginning of the names of all objects. */}}
{{- define "onceward.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "onceward.controllerName" -}}
{{ include "onceward.fullname" . }}-controller
{{- end -}}

{{/* Labels that select the controller's pods. */}}
{{- define "onceward.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end -}}

{{/* Labels of everything. */}}
{{- define "onceward.labels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "onceward.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{- /* A whole number in a file of values is a float to Helm. */ -}}
{{- $tag := .Values.image.tag -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion (kindIs "string" $tag | ternary $tag ($tag | int64 | toString)) }}
{{- end -}}
{{- end -}}

{{- define "onceward.controllerServiceAccount" -}}
{{- $account := .Values.controller.serviceAccount -}}
{{- if $account.create -}}
{{ default (include "onceward.controllerName" .) $account.name }}
{{- else -}}
{{ required "controller.serviceAccount.name must be set if controller.serviceAccount.create is false" $account.name }}
{{- end -}}
{{- end -}}

{{/* Name of the workers' service account; empty: the namespace's default one. */}}
{{- define "onceward.workerServiceAccount" -}}
{{- if .Values.worker.serviceAccount.name -}}
{{ .Values.worker.serviceAccount.name }}
{{- else if and .Values.worker.serviceAccount.create .Values.watchNamespaces -}}
{{ include "onceward.fullname" . }}-worker
{{- end -}}
{{- end -}}

{{/* Namespaces in which the chart makes what workers need, as a JSON list. */}}
{{- define "onceward.workerNamespaces" -}}
{{ default .Values.worker.namespaces .Values.watchNamespaces | toJson }}
{{- end -}}

{{- define "onceward.signingKeySecret" -}}
{{ default (printf "%s-signing-key" (include "onceward.fullname" .)) .Values.signingKey.existingSecret }}
{{- end -}}

{{/* What the controller may do with Pipelines and what they are made of, wherever it watches. */}}
{{- define "onceward.controllerRules" -}}
- apiGroups: [onceward.dev]
  resources: [pipelines]
  verbs: [get, list, watch, patch]
- apiGroups: [onceward.dev]
  resources: [pipelines/status]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, create, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch, create, delete]
# Read where a pod does not start and its status does not say why.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch, list]
{{- end -}}
