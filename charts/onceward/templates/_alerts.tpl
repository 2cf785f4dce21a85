{{/*
Rules by alert. Every expression sums over pods, so that a pod that is replaced does not start `for` anew, and leaves
`namespace` and `pipeline` as labels. `[[ ]]` are the braces of Prometheus' own templates.
*/}}
{{- define "onceward.alerts" -}}
{{- $names := list "checkpointFailing" "checkpointStale" "commitsPending" "transactionNearTimeout" "commitLost" "restartLoop" "restartLimitReached" "pipelineFailed" "pipelineNotReady" "lagGrowing" "workersNotScraped" "controllerDown" -}}
- name: onceward
  rules:
  {{- range $name := $names }}
  {{- $values := index $.Values.monitoring.prometheusRule.alerts $name }}
  {{- if $values.enabled }}
  {{- $alert := printf "Onceward%s%s" (substr 0 1 $name | upper) (substr 1 -1 $name) }}
  - alert: {{ $alert }}
    {{- include (printf "onceward.alert.%s" $name) (dict "root" $ "values" $values) | replace "[[" "{{" | replace "]]" "}}" | nindent 4 }}
      runbook_url: {{ trimSuffix "/" $.Values.monitoring.prometheusRule.runbookBaseUrl }}/{{ $alert }}.md
    for: {{ $values.for }}
    labels:
      severity: {{ $values.severity }}
      {{- with $.Values.monitoring.prometheusRule.alertLabels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "onceward.alert.checkpointFailing" -}}
{{- $failed := printf `sum by (namespace, pipeline) (increase(onceward_checkpoints_total{result=~"failed|timed_out"}[%s]))` .values.window -}}
expr: |
  max by (namespace, pipeline) (onceward_checkpoint_consecutive_failures) >= {{ .values.failures }}
  or (
    {{ $failed }} >= {{ .values.failures }}
    and {{ $failed }} > sum by (namespace, pipeline) (increase(onceward_checkpoints_total{result="completed"}[{{ .values.window }}]))
  )
annotations:
  summary: Checkpoints of [[ $labels.namespace ]]/[[ $labels.pipeline ]] fail
  description: >-
    {{ .values.failures }} or more failed in a row, or most of those within {{ .values.window }}. Until one succeeds no output becomes
    visible, and the pipeline will start again from the last one that did.
{{- end -}}

{{/* A worker counts from its own start. Where workers end again and again before they have one, the controller knows the newest. */}}
{{- define "onceward.alert.checkpointStale" -}}
expr: |
  time() - (
    max by (namespace, pipeline) (onceward_pipeline_last_checkpoint_timestamp_seconds > 0)
    and sum by (namespace, pipeline) (increase(onceward_pipeline_restarts_total{reason!~"SpecChanged|Requested"}[{{ .values.window }}])) > 0
    or max by (namespace, pipeline) (onceward_checkpoint_last_completed_timestamp_seconds)
  )
  > clamp_min(
    {{ .values.intervals }} * max by (namespace, pipeline) (onceward_checkpoint_interval_seconds)
    + max by (namespace, pipeline) (onceward_checkpoint_timeout_seconds),
    {{ .values.minimumSeconds }}
  )
annotations:
  summary: '[[ $labels.namespace ]]/[[ $labels.pipeline ]] has decided no checkpoint for [[ $value | humanizeDuration ]]'
  description: >-
    That is more than {{ .values.intervals }} intervals and a timeout, and than {{ .values.minimumSeconds }} seconds. Output waits for a checkpoint to become
    visible, and a restart would repeat all work since the last one.
{{- end -}}

{{/* What the controller tells of a running pipeline is up to half a minute old: of one that takes long over each commit, they seem to pend. */}}
{{- define "onceward.alert.commitsPending" -}}
expr: |
  time() - min by (namespace, pipeline) (onceward_commit_oldest_pending_timestamp_seconds > 0)
  > clamp_min({{ .values.intervals }} * max by (namespace, pipeline) (onceward_checkpoint_interval_seconds), {{ .values.minimumSeconds }})
  or (
    max by (namespace, pipeline) (onceward_pipeline_status_condition{condition="CommitsSettled", status="false"}) == 1
    unless max by (namespace, pipeline) (onceward_pipeline_status_phase{phase="Running"}) == 1
  )
  or (
    time() - min by (namespace, pipeline) (onceward_pipeline_oldest_pending_commit_timestamp_seconds > 0) > 2 * {{ .values.minimumSeconds }}
    unless max by (namespace, pipeline) (onceward_checkpoint_interval_seconds)
  )
annotations:
  summary: Decided output of [[ $labels.namespace ]]/[[ $labels.pipeline ]] is not committed
  description: >-
    A checkpoint has decided it, and its target does not take it. Nothing is lost as long as the target keeps it, which for Kafka is the
    transaction's timeout; no further checkpoint is decided meanwhile.
{{- end -}}

{{- define "onceward.alert.transactionNearTimeout" -}}
expr: |
  (time() - min by (namespace, pipeline, sink) (onceward_transaction_oldest_open_timestamp_seconds > 0))
  / min by (namespace, pipeline, sink) (onceward_transaction_timeout_seconds > 0)
  > {{ .values.ratio }}
annotations:
  summary: A transaction of [[ $labels.namespace ]]/[[ $labels.pipeline ]] has used [[ $value | humanizePercentage ]] of its timeout
  description: >-
    Sink [[ $labels.sink ]]. When the timeout is over its broker throws the transaction away. What is decided in it by then is lost; what is not is
    written again.
{{- end -}}

{{- define "onceward.alert.commitLost" -}}
expr: |
  max by (namespace, pipeline) (onceward_pipeline_failed{reason="CommitLost"}) == 1
  or sum by (namespace, pipeline) (increase(onceward_commits_total{result="lost"}[{{ .values.window }}])) > 0
  or sum by (namespace, pipeline) (increase(onceward_transactions_expired_total[{{ .values.window }}])) > 0
annotations:
  summary: Decided output of [[ $labels.namespace ]]/[[ $labels.pipeline ]] is lost
  description: >-
    A target threw away what a checkpoint had decided. The pipeline has stopped; its status names epoch, sink, records and range, and it goes on
    only after somebody has decided what to do.
{{- end -}}

{{- define "onceward.alert.restartLoop" -}}
expr: |
  sum by (namespace, pipeline) (
    increase(onceward_pipeline_restarts_total{reason!~"SpecChanged|Requested"}[{{ .values.window }}])
  ) > {{ .values.restarts }}
annotations:
  summary: '[[ $labels.namespace ]]/[[ $labels.pipeline ]] starts again and again'
  description: >-
    About [[ $value | humanize ]] restarts within {{ .values.window }} that nobody asked for. Each one repeats the work since the last checkpoint.
{{- end -}}

{{- define "onceward.alert.restartLimitReached" -}}
expr: |
  max by (namespace, pipeline) (onceward_pipeline_failed{reason=~"RestartLimitReached|RestartsExhausted"}) == 1
annotations:
  summary: '[[ $labels.namespace ]]/[[ $labels.pipeline ]] has failed more often than its restart policy allows'
  description: >-
    It is not started again by itself. What its last checkpoint decided is committed all the same.
{{- end -}}

{{- define "onceward.alert.pipelineFailed" -}}
expr: |
  max by (namespace, pipeline, reason) (onceward_pipeline_failed{reason!~"CommitLost|RestartLimitReached|RestartsExhausted"}) == 1
annotations:
  summary: '[[ $labels.namespace ]]/[[ $labels.pipeline ]] has failed: [[ $labels.reason ]]'
  description: >-
    No restart would heal that, so it is not started again. What its last checkpoint decided is committed all the same.
{{- end -}}

{{- define "onceward.alert.pipelineNotReady" -}}
expr: |
  max by (namespace, pipeline) (onceward_pipeline_status_condition{condition="Ready", status="true"}) == 0
  unless max by (namespace, pipeline) (onceward_pipeline_status_phase{phase=~"Suspended|Finished|Failed|Deleting"}) == 1
annotations:
  summary: '[[ $labels.namespace ]]/[[ $labels.pipeline ]] is not ready'
  description: >-
    It should run, and processes nothing. The condition Ready says why.
{{- end -}}

{{- define "onceward.alert.lagGrowing" -}}
{{- $lag := "sum by (namespace, pipeline, source) (onceward_source_lag_records)" -}}
expr: |
  {{ $lag }} > {{ .values.records | int64 }}
  and deriv({{ $lag }}[{{ .values.window }}:]) > 0
annotations:
  summary: '[[ $labels.namespace ]]/[[ $labels.pipeline ]] falls behind'
  description: >-
    Source [[ $labels.source ]] has [[ $value | humanize ]] records to read, and over {{ .values.window }} they have become more. Records that their
    topic deletes before they are read stop the pipeline.
{{- end -}}

{{- define "onceward.alert.workersNotScraped" -}}
expr: |
  max by (namespace, pipeline) (onceward_pipeline_ready_workers) > 0
  unless max by (namespace, pipeline) (onceward_checkpoint_interval_seconds)
annotations:
  summary: Prometheus does not read the workers of [[ $labels.namespace ]]/[[ $labels.pipeline ]]
  description: >-
    Workers are ready, and no series of theirs is there. Until that is mended no alert about checkpoints, transactions or lag can fire for it.
{{- end -}}

{{- define "onceward.alert.controllerDown" -}}
{{- $job := default (printf "%s/%s" .root.Release.Namespace (include "onceward.controllerName" .root)) .root.Values.monitoring.prometheusRule.controllerJob -}}
expr: |
  absent(up{job={{ $job | quote }}} == 1)
  or absent(onceward_leader{job={{ $job | quote }}} == 1)
annotations:
  summary: No controller of Onceward is at work
  description: >-
    Pipelines that run go on, with their checkpoints. A worker that dies is not replaced, and neither changes nor deletions of Pipelines have any
    effect.
{{- end -}}
