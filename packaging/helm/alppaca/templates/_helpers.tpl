{{- define "alppaca.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "alppaca.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "alppaca.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "alppaca.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels of a part: (dict "root" $ "part" "webhook") */}}
{{- define "alppaca.selector" -}}
app.kubernetes.io/name: {{ include "alppaca.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "alppaca.labels" -}}
{{ include "alppaca.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* (dict "root" $ "image" .Values.image) */}}
{{- define "alppaca.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "alppaca.webhook" -}}
{{ include "alppaca.fullname" . }}-webhook
{{- end }}

{{- define "alppaca.webhookSecret" -}}
{{- if eq .Values.webhook.tls.mode "existingSecret" -}}
{{ required "webhook.tls.existingSecret.name: the Secret with tls.crt and tls.key" .Values.webhook.tls.existingSecret.name }}
{{- else -}}
{{ include "alppaca.webhook" . }}-tls
{{- end }}
{{- end }}

{{/* All that the profile "restricted" wants of a container. */}}
{{- define "alppaca.restricted" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsGroup: 65532
runAsNonRoot: true
runAsUser: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "alppaca.hasWebhook" -}}
{{- if and .Values.webhook.enabled .Values.podIdentity.enabled }}true{{ end }}
{{- end }}

{{- define "alppaca.watches" -}}
{{- if and .Values.podIdentity.enabled .Values.podIdentity.serviceAccounts.enabled }}true{{ end }}
{{- end }}

{{/* The token of the pod, for the API server. */}}
{{- define "alppaca.tokenVolume" -}}
name: token
projected:
  defaultMode: 0440
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap:
        name: kube-root-ca.crt
        items: [{key: ca.crt, path: ca.crt}]
{{- end }}

{{/* The configuration that the daemon and the webhook share. */}}
{{- define "alppaca.config" -}}
{{- $config := deepCopy .Values.config }}
{{- range $key := list "webhook" "pod_identity" "metrics_listen" "log_level" "logging_handler" "run_dir" "user" "group" }}
{{- if hasKey $config $key }}
{{- fail (printf "config.%s: the chart sets it; see podIdentity, webhook, daemon and logLevel" $key) }}
{{- end }}
{{- end }}
{{- if regexMatch "(?m)^[ -]*secret_access_key:" (toYaml $config) }}
{{- fail "config: secret_access_key does not belong in a ConfigMap; name an existing Secret in `secrets`, and its file in the configuration" }}
{{- end }}
{{- $config = mergeOverwrite $config (dict "log_level" .Values.logLevel "run_dir" "/run/alppaca" "metrics_listen" .Values.daemon.metricsListen "logging_handler" (dict "module" "logging" "class" "StreamHandler")) }}
{{- if and .Values.capture.enabled .Values.capture.imds }}
{{- $listen := list (printf "%s:%d" (default "127.0.0.1" $config.bind_ip) (int (default 25772 $config.bind_port))) }}
{{- with $config.listen }}
{{- $listen = kindIs "slice" . | ternary . (list .) }}
{{- end }}
{{- if not (or (has "169.254.169.254:80" $listen) (has "0.0.0.0:80" $listen)) }}
{{- fail (printf "capture.imds: config.listen has to have 169.254.169.254:80, or nothing answers at the address that is captured; the daemon would listen at %s" (join ", " $listen)) }}
{{- end }}
{{- end }}
{{- if .Values.podIdentity.enabled }}
{{- $api := "/var/run/secrets/kubernetes.io/serviceaccount" }}
{{- $pods := dict "listen" .Values.podIdentity.listen "issuer" .Values.podIdentity.issuer "audience" .Values.podIdentity.audience "associations" .Values.podIdentity.associations }}
{{- if not (or (hasKey .Values.podIdentity.extra "jwks_url") (hasKey .Values.podIdentity.extra "jwks_file")) }}
{{- $pods = merge $pods (dict "jwks_url" "https://kubernetes.default.svc/openid/v1/jwks" "jwks_ca_file" (printf "%s/ca.crt" $api) "jwks_token_file" (printf "%s/token" $api)) }}
{{- end }}
{{- with .Values.podIdentity.serviceAccounts }}
{{- if .enabled }}
{{- $_ := set $pods "service_accounts" (dict "allow" .allow "api_server" "https://kubernetes.default.svc" "api_ca_file" (printf "%s/ca.crt" $api) "api_token_file" (printf "%s/token" $api)) }}
{{- end }}
{{- end }}
{{- with .Values.podIdentity.sessionTags }}
{{- if .enabled }}
{{- $tags := dict "transitive" .transitive "max_sessions" .maxSessions }}
{{- with .clusterName }}{{ $_ := set $tags "cluster_name" . }}{{ end }}
{{- with .clusterArn }}{{ $_ := set $tags "cluster_arn" . }}{{ end }}
{{- $_ := set $pods "session_tags" $tags }}
{{- end }}
{{- end }}
{{- $pods = mergeOverwrite $pods (deepCopy .Values.podIdentity.extra) }}
{{- with $pods.service_accounts }}
{{- if not .allow }}
{{- fail "podIdentity.serviceAccounts.allow is empty: say which roles the annotations of a namespace may ask for ({namespace, roles})" }}
{{- end }}
{{- else }}
{{- if not $pods.associations }}
{{- fail "podIdentity.associations is empty, so that no service account has a role: name some, set podIdentity.serviceAccounts, or set podIdentity.enabled to false" }}
{{- end }}
{{- end }}
{{- if .Values.capture.enabled }}
{{- range .Values.podIdentity.listen }}
{{- if and (hasPrefix "[" .) (not (hasPrefix "[::1]" .)) }}
{{- fail (printf "podIdentity.listen: capture gives the node no IPv6 address, so that the daemon cannot listen at %s; set capture.enabled to false and give the node its addresses by other means" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if not $pods.associations }}
{{- $pods = omit $pods "associations" }}
{{- end }}
{{- $_ := set $config "pod_identity" $pods }}
{{- end }}
{{- if include "alppaca.hasWebhook" . }}
{{- $own := dict "listen" "0.0.0.0:8443" "metrics_listen" "0.0.0.0:9912" "tls_certificate" "/etc/alppaca/tls/tls.crt" "tls_key" "/etc/alppaca/tls/tls.key" "credentials_url" (printf "http://%s/v1/credentials" (first .Values.podIdentity.listen | trimSuffix ":80")) }}
{{- $_ := set $config "webhook" (mergeOverwrite $own (deepCopy .Values.webhook.extra)) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- define "alppaca.imsConfig" -}}
{{- $config := deepCopy .Values.ims.config }}
{{- range $key := list "listen" "metrics_listen" "tls_certificate" "tls_key" "log_level" "logging_handler" "user" "group" }}
{{- if hasKey $config $key }}
{{- fail (printf "ims.config.%s: the chart sets it" $key) }}
{{- end }}
{{- end }}
{{- toYaml (mergeOverwrite $config (dict "listen" (list "0.0.0.0:8443") "metrics_listen" "0.0.0.0:9913" "tls_certificate" "/etc/alppaca-ims/tls/tls.crt" "tls_key" "/etc/alppaca-ims/tls/tls.key" "log_level" .Values.logLevel "logging_handler" (dict "module" "logging" "class" "StreamHandler"))) }}
{{- end }}

{{/* Which namespaces the webhook is for: those of the values, but never the excluded ones. */}}
{{- define "alppaca.namespaceSelector" -}}
{{- $selector := deepCopy .Values.webhook.namespaceSelector }}
{{- $not := dict "key" "kubernetes.io/metadata.name" "operator" "NotIn" "values" (append .Values.webhook.excludedNamespaces .Release.Namespace | uniq) }}
{{- $_ := set $selector "matchExpressions" (append (default (list) $selector.matchExpressions) $not) }}
{{- toYaml $selector }}
{{- end }}
