{{- define "concordat.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "concordat.selector" -}}
app.kubernetes.io/name: concordat
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "concordat.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "concordat.selector" . }}
{{- end -}}

{{- define "concordat.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* Host name of the pod with this ordinal; ordinals start at 1 and are the node ids. */}}
{{- define "concordat.host" -}}
{{ include "concordat.name" .root }}-{{ .ordinal }}.{{ include "concordat.name" .root }}-peers.{{ .root.Release.Namespace }}.svc
{{- end -}}

{{/* Settings that the chart decides, over those of the values. */}}
{{- define "concordat.config" -}}
{{- if not .Values.acceptUnencryptedTraffic -}}
{{- fail "acceptUnencryptedTraffic is false: traffic between clients, nodes and participants is not encrypted; set it to true only in a trusted network" -}}
{{- end -}}
{{- $node := dict "cluster_name" (.Values.clusterName | default .Release.Name) "data_directory" "/var/lib/concordat" -}}
{{- $log := dict -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- $members := list -}}
{{- range $ordinal := untilStep 1 (int (add1 .Values.replicas)) 1 -}}
{{- $host := include "concordat.host" (dict "root" $ "ordinal" $ordinal) -}}
{{- $members = append $members (dict "id" $ordinal "peer_address" (printf "%s:%d" $host (int $.Values.ports.peer)) "api_url" (printf "http://%s:%d" $host (int $.Values.ports.api))) -}}
{{- end -}}
{{- $_ := set $node "members" $members -}}
{{- $_ := set $log "peer_listen" (printf "0.0.0.0:%d" (int .Values.ports.peer)) -}}
{{- end -}}
{{- $api := dict "listen" (printf "0.0.0.0:%d" (int .Values.ports.api)) "insecure" true -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) (dict "node" $node "api" $api "log" $log)) -}}
{{- end -}}

{{/* What every pod of this chart may do: nothing beyond its own process. */}}
{{- define "concordat.podSecurity" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "concordat.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end -}}
