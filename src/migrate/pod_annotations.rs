//! The annotations of pods and namespaces that kube2iam and kiam go by, and the flags of these programs.
//! <https://github.com/jtblin/kube2iam> (`mappings/mapper.go`, `iam/arn.go`, `cmd/main.go`) and
//! <https://github.com/uswitch/kiam> (`pkg/server/policy.go`, `pkg/aws/sts`, `cmd/kiam/server.go`)

use std::collections::BTreeMap;

use alppaca_settings::render::quoted;
use serde_json::Value;

use super::{
    associations::{Associations, Role},
    cluster::{Cluster, Pod},
    flags::Flags,
    text::Text,
};
use crate::{
    credentials::{Pattern, RoleArn, is_external_id, is_name_character},
    expression::Expression,
    kubernetes::Account,
};

/// Flags of kube2iam that are followed by a value.
const KUBE2IAM_VALUES: [&str; 22] = [
    "api-server",
    "api-token",
    "app-port",
    "backoff-max-elapsed-time",
    "backoff-max-interval",
    "base-role-arn",
    "cache-resync-period",
    "default-role",
    "host-interface",
    "host-ip",
    "iam-external-id",
    "iam-role-error-ttl",
    "iam-role-key",
    "iam-role-session-ttl",
    "kubeconfig",
    "log-format",
    "log-level",
    "metadata-addr",
    "metrics-port",
    "namespace-key",
    "namespace-restriction-format",
    "node",
];

/// Its flags that are either there or not.
const KUBE2IAM_SWITCHES: [&str; 9] = [
    "auto-discover-base-arn",
    "auto-discover-default-role",
    "debug",
    "insecure",
    "iptables",
    "namespace-restrictions",
    "resolve-duplicate-cache-ips",
    "use-regional-sts-endpoint",
    "verbose",
];

/// Flags of kiam's server that matter here.
const KIAM_VALUES: [&str; 7] =
    ["assume-role-arn", "level", "region", "role-base-arn", "session", "session-duration", "session-refresh"];
const KIAM_SWITCHES: [&str; 3] = ["disable-strict-namespace-regexp", "json-log", "role-base-arn-autodetect"];

/// How many pods a comment names.
const NAMED: usize = 3;

/// The two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodAnnotations {
    /// Of jtblin.
    Kube2iam,
    /// Of uswitch.
    Kiam,
}

/// Why a pod has no role.
enum Refused {
    /// It asks for none.
    Unasked,
    Because(String),
}

struct Translator<'a> {
    tool: PodAnnotations,
    flags: Flags,
    cluster: Cluster<'a>,
    /// The role of kiam's server, by its name.
    via: Option<String>,
    default: Option<RoleArn>,
}

impl PodAnnotations {
    /// Our configuration from the objects of a cluster and the words of the program's command line, with a comment at all
    /// that changes or cannot be kept. An error says why no pod gets a role.
    pub fn translate(self, documents: &[Value], words: &[String]) -> Result<String, String> {
        let (values, switches): (&[_], &[_]) = match self {
            Self::Kube2iam => (&KUBE2IAM_VALUES, &KUBE2IAM_SWITCHES),
            Self::Kiam => (&KIAM_VALUES, &KIAM_SWITCHES),
        };
        let is_command = |word: &str| word.ends_with(self.name()) || word == "server";
        let flags = Flags::parse(words, is_command, values, switches);
        let mut text = Text::new(self.name(), self.name());
        let mut associations = Associations::default();
        let mut problems = Vec::new();
        let mut translator =
            Translator { tool: self, flags, cluster: Cluster::of(documents), via: None, default: None };
        translator.flags(&mut text, &mut associations, &mut problems);
        translator.pods(&mut associations, &mut problems);
        for problem in &problems {
            text.note(problem);
        }
        if associations.is_empty() {
            let pods = translator.cluster.pods.len();
            problems.insert(0, format!("no role in {pods} pods and templates of pods ({})", translator.role_key()));
            return Err(problems.join("\n"));
        }
        associations.write(&mut text);
        Ok(text.into_string())
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Kube2iam => "kube2iam",
            Self::Kiam => "kiam",
        }
    }

    /// The flag with the beginning of ARNs.
    const fn base_flag(self) -> &'static str {
        match self {
            Self::Kube2iam => "base-role-arn",
            Self::Kiam => "role-base-arn",
        }
    }
}

impl Translator<'_> {
    fn flag<'b>(&'b self, name: &str, default: &'b str) -> &'b str {
        self.flags.get(name).unwrap_or(default)
    }

    fn role_key(&self) -> &str {
        self.flag("iam-role-key", "iam.amazonaws.com/role")
    }

    /// What the flags say.
    fn flags(&mut self, text: &mut Text, associations: &mut Associations, problems: &mut Vec<String>) {
        for word in &self.flags.unknown {
            text.note(&format!("{word:?} has no counterpart here: pods ask the address in their environment."));
        }
        if self.flags.has("auto-discover-default-role") {
            text.note("--auto-discover-default-role: pods without a role of their own get none.");
        }
        if self.flags.has("use-regional-sts-endpoint") {
            text.note("--use-regional-sts-endpoint: set `aws_region` to AWS_REGION; its STS is called.");
        }
        if let Some(region) = self.flags.get("region").filter(|region| !region.is_empty()) {
            text.line(&format!("aws_region: {}", quoted(region)));
        }
        for flag in ["iam-role-session-ttl", "session-duration"] {
            if let Some(duration) = self.flags.get(flag) {
                text.note(&format!(
                    "--{flag} ({duration:?}): sessions last an hour; `duration` of a role changes that."
                ));
            }
        }
        if let Some(server) = self.flags.get("assume-role-arn").filter(|arn| !arn.is_empty()) {
            match server.parse() {
                Ok(arn) => self.via = Some(associations.role(Role::new(&arn))),
                Err(error) => problems.push(format!("--assume-role-arn: {error}.")),
            }
        }
        if let Some(role) = self.flags.get("default-role").filter(|role| !role.is_empty()) {
            match self.arn(role) {
                Ok(arn) => self.default = Some(arn),
                Err(error) => problems.push(format!("--default-role: {error}")),
            }
        }
    }

    /// The ARN of what an annotation or a flag names.
    fn arn(&self, role: &str) -> Result<RoleArn, String> {
        let is_whole = role.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("arn:"));
        let base = self.flag(self.tool.base_flag(), "").trim_end_matches('/');
        if !is_whole && base.is_empty() {
            let flag = self.tool.base_flag();
            return Err(format!(
                "{role:?} is no ARN: append to this command -- --{flag}=arn:aws:iam::ACCOUNT:role/, as {} had it.",
                self.tool.name()
            ));
        }
        let arn = if is_whole { role.to_owned() } else { format!("{base}/{}", role.trim_start_matches('/')) };
        arn.parse().map_err(|error| format!("{error}."))
    }

    fn role(&self, arn: &RoleArn) -> Role {
        Role { via: self.via.clone(), ..Role::new(arn) }
    }

    /// Each account with the roles of its pods.
    fn pods(&self, associations: &mut Associations, problems: &mut Vec<String>) {
        let mut accounts: BTreeMap<&Account, BTreeMap<Option<Role>, Vec<&str>>> = BTreeMap::new();
        let mut without = None;
        for pod in &self.cluster.pods {
            let role = match self.of_pod(pod) {
                Ok(role) => Some(role),
                Err(Refused::Unasked) => self.default.as_ref().map(|arn| self.role(arn)),
                Err(Refused::Because(reason)) => {
                    problems.push(format!("{}: {} has no role: {reason}", pod.account, pod.shown));
                    without.get_or_insert(&pod.account);
                    None
                }
            };
            accounts.entry(&pod.account).or_default().entry(role).or_default().push(&pod.shown);
        }
        let default = self.default.as_ref().map(|arn| self.role(arn));
        for (account, roles) in accounts {
            // What all others have needs no line.
            if default.is_some() && roles.len() == 1 && roles.contains_key(&default) {
                continue;
            }
            let held = held(account, &roles);
            if held.is_some() {
                without.get_or_insert(account);
            }
            for role in roles.into_keys().flatten() {
                associations.add(account.clone(), role, true, held.clone());
            }
        }
        if let Some(default) = default {
            let held = without.map(|account| {
                format!(
                    "The role of all other accounts, and so of pods that had another one or none ({account}, see above). \
                     Decide about these first."
                )
            });
            associations.otherwise(default, held);
        }
    }

    fn of_pod(&self, pod: &Pod<'_>) -> Result<Role, Refused> {
        let asked = pod.annotation(self.role_key());
        // kiam takes an empty annotation for none.
        let asked = asked.filter(|role| self.tool == PodAnnotations::Kube2iam || !role.is_empty());
        let arn = self.arn(asked.ok_or(Refused::Unasked)?).map_err(Refused::Because)?;
        self.permit(&pod.account.namespace, &arn).map_err(Refused::Because)?;
        let mut role = self.role(&arn);
        let key = self.flag("iam-external-id", "iam.amazonaws.com/external-id");
        role.external_id = pod.annotation(key).filter(|id| !id.is_empty()).map(str::to_owned);
        if let Some(id) = role.external_id.as_ref().filter(|id| !is_external_id(id)) {
            return Err(Refused::Because(format!("{id:?} is no external id.")));
        }
        if self.tool == PodAnnotations::Kiam {
            let own = pod.annotation("iam.amazonaws.com/session-name").filter(|name| !name.is_empty());
            role.session_name = own.or_else(|| self.flags.get("session")).map(session_name);
        }
        Ok(role)
    }

    /// Whether the namespace may have the role, as the program decides that.
    fn permit(&self, namespace: &str, arn: &RoleArn) -> Result<(), String> {
        let regular = |written: &str| searched(written).map_err(|error| format!("{written:?}: {error}."));
        let key = match self.tool {
            PodAnnotations::Kube2iam
                if !self.flags.has("namespace-restrictions") || self.default.as_ref() == Some(arn) =>
            {
                return Ok(());
            }
            PodAnnotations::Kube2iam => self.flag("namespace-key", "iam.amazonaws.com/allowed-roles"),
            PodAnnotations::Kiam => "iam.amazonaws.com/permitted",
        };
        let written = self.cluster.annotation(namespace, key).unwrap_or_default();
        let allowed = match self.tool {
            PodAnnotations::Kiam if written.is_empty() => false,
            PodAnnotations::Kiam if self.flags.has("disable-strict-namespace-regexp") => {
                regular(written)?.matches(arn.as_str())
            }
            PodAnnotations::Kiam => regular(&format!("^{written}$"))?.matches(arn.as_str()),
            PodAnnotations::Kube2iam => {
                let patterns: Vec<String> = serde_json::from_str(written).unwrap_or_default();
                let base = self.flag(self.tool.base_flag(), "").trim_end_matches('/');
                let is_regular = self.flag("namespace-restriction-format", "glob").eq_ignore_ascii_case("regexp");
                patterns.iter().any(|pattern| {
                    let is_whole = pattern.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("arn:"));
                    let pattern = if is_whole { pattern.clone() } else { format!("{base}/{pattern}") };
                    if is_regular {
                        regular(&pattern).is_ok_and(|expression| expression.matches(arn.as_str()))
                    } else {
                        Pattern::new(&pattern).matches(arn.as_str())
                    }
                })
            }
        };
        let reason = || format!("{key} of the namespace ({written:?}) does not allow {arn}.");
        allowed.then_some(()).ok_or_else(reason)
    }
}

/// Why the line of an account has to wait for a person: a role of some pods would be one of others, too.
fn held(account: &Account, roles: &BTreeMap<Option<Role>, Vec<&str>>) -> Option<String> {
    if roles.keys().all(Option::is_none) {
        return None;
    }
    if roles.len() > 1 {
        let each = roles
            .iter()
            .map(|(role, pods)| format!("{}: {}", names(pods), role.as_ref().map_or("none", |role| role.arn.as_str())));
        let each: Vec<_> = each.collect();
        return Some(format!(
            "{account}: its pods have different roles ({}), but an account has one. Give them accounts of their own.",
            each.join("; ")
        ));
    }
    (account.name == "default").then(|| {
        format!(
            "{account}: every pod that names no account would have the role. Give its pods an account of their own."
        )
    })
}

fn names(pods: &[&str]) -> String {
    let shown = pods.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = pods.len().saturating_sub(NAMED);
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// An expression that matches where one of Go matches some part of a text.
fn searched(written: &str) -> Result<Expression, String> {
    // First by itself, so that no parenthesis in it closes ours.
    Expression::new(written)
        .and_then(|_| Expression::new(&format!("(?s:.*)(?:{written})(?s:.*)")))
        .map_err(|error| error.to_string())
}

/// The name that kiam gives a session.
fn session_name(wish: &str) -> String {
    let name: String = format!("kiam-{wish}").chars().map(|c| if is_name_character(c) { c } else { '-' }).collect();
    let length = if name.len() > 64 { 63 } else { 64 };
    name.chars().take(length).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BASE: &str = "arn:aws:iam::123456789012:role/";

    fn pod(name: &str, account: &str, annotations: &Value) -> Value {
        json!({"kind": "Pod", "metadata": {"name": name, "namespace": "prod", "annotations": annotations},
               "spec": {"serviceAccountName": account}})
    }

    fn asks(name: &str, account: &str, role: &str) -> Value {
        pod(name, account, &json!({"iam.amazonaws.com/role": role}))
    }

    fn namespace(annotations: &Value) -> Value {
        json!({"kind": "Namespace", "metadata": {"name": "prod", "annotations": annotations}})
    }

    fn translated(tool: PodAnnotations, documents: &[Value], line: &str) -> Result<String, String> {
        tool.translate(documents, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn has(text: &str, account: &str, role: &str) -> bool {
        let line = format!("    - {{namespace: \"prod\", service_account: \"{account}\", role: \"{role}\"}}");
        text.lines().any(|found| found == line)
    }

    #[test]
    fn each_account_has_the_role_of_its_pods() {
        let pods = [
            asks("web-1", "web", "team/web"),
            asks("web-2", "web", "/team/web"),
            asks("db", "db", "arn:aws:iam::210987654321:role/web"),
            pod("ext", "ext", &json!({"iam.amazonaws.com/role": "ext", "iam.amazonaws.com/external-id": "build-7"})),
            pod("idle", "idle", &json!({})),
        ];
        let line = format!("/kube2iam --base-role-arn={BASE} --iptables=true --host-ip $(HOST_IP) --odd=1");
        let text = translated(PodAnnotations::Kube2iam, &pods, &line).expect("roles");
        assert!(has(&text, "db", "web") && has(&text, "web", "web-123456789012"), "{text}");
        for part in [
            "\"web-123456789012\": {source: \"node\", role_arn: \"arn:aws:iam::123456789012:role/team/web\"}",
            "role/ext\", external_id: \"build-7\"}",
            "# ! \"--odd\" has no counterpart",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("idle"), "{text}");
    }

    #[test]
    fn a_role_of_some_pods_does_not_become_one_of_others() {
        let cases = [
            ("default", vec![asks("a", "default", "web")], "every pod that names no account"),
            (
                "x",
                vec![asks("a", "x", "web"), asks("b", "x", "db")],
                "pod b: arn:aws:iam::123456789012:role/db; pod a: arn:",
            ),
            ("x", vec![asks("a", "x", "web"), pod("b", "x", &json!({}))], "pod b: none; pod a: arn:"),
        ];
        for (account, pods, reason) in cases {
            let line = format!("--base-role-arn {BASE}");
            let text = translated(PodAnnotations::Kube2iam, &pods, &line).expect("roles");
            assert!(text.contains(reason) && !has(&text, account, "web"), "{reason}: {text}");
            assert!(text.contains("\n#     - {") && text.contains("\n# pod_identity:"), "{text}");
        }
        // What has no role of its own had the default one.
        let pods = [asks("a", "x", "web"), pod("b", "x", &json!({})), pod("c", "y", &json!({}))];
        let line = format!("--base-role-arn {BASE} --default-role fallback");
        let text = translated(PodAnnotations::Kube2iam, &pods, &line).expect("roles");
        let last = "    - {namespace: \"*\", service_account: \"*\", role: \"fallback\"}\n";
        assert!(
            text.ends_with(&format!("\n# {last}"))
                && text.contains("pod b: arn:aws:iam::123456789012:role/fallback; pod a: arn:")
                && !text.contains("\"y\""),
            "{text}"
        );
        let plain = [asks("a", "x", "web"), pod("b", "default", &json!({}))];
        let text = translated(PodAnnotations::Kube2iam, &plain, &line).expect("roles");
        assert!(text.ends_with(&format!("\n{last}")) && has(&text, "x", "web"), "{text}");
        // A pod that was refused does not get the default role by that.
        let refused = [namespace(&json!({})), asks("a", "x", "web"), pod("b", "y", &json!({}))];
        let text = translated(PodAnnotations::Kube2iam, &refused, &format!("{line} --namespace-restrictions"));
        let text = text.expect("a role");
        assert!(
            text.ends_with(&format!("\n# {last}")) && text.contains("of pods that had another one or none"),
            "{text}"
        );
    }

    #[test]
    fn what_kube2iam_refused_has_no_role() {
        let pods = |allowed: &Value| {
            let allowed = json!({"iam.amazonaws.com/allowed-roles": allowed.to_string()});
            [namespace(&allowed), asks("a", "web", "team/web")]
        };
        let allows = |allowed: Value, format: &str| {
            let line = format!("--base-role-arn {BASE} --namespace-restrictions {format}");
            translated(PodAnnotations::Kube2iam, &pods(&allowed), &line).is_ok()
        };
        assert!(allows(json!(["team/*"]), "") && allows(json!(["x", "arn:aws:iam::*:role/team/web"]), ""));
        assert!(!allows(json!(["web"]), "") && !allows(json!([]), "") && !allows(json!("team/*"), ""));
        assert!(
            !allows(json!(["team/w.b"]), "") && allows(json!(["team/w.b"]), "--namespace-restriction-format=regexp")
        );
        assert!(!allows(json!(["team/w(b"]), "--namespace-restriction-format=regexp"));
        let refused = translated(
            PodAnnotations::Kube2iam,
            &pods(&json!(["x"])),
            &format!("--namespace-restrictions --base-role-arn={BASE}"),
        );
        let said = refused.expect_err("no role");
        assert!(said.starts_with("no role in 1 pods") && said.contains("prod/web: pod a has no role"), "{said}");
        let said = translated(PodAnnotations::Kube2iam, &[asks("a", "web", "web")], "").expect_err("no ARN");
        assert!(said.contains("-- --base-role-arn=arn:aws:iam::ACCOUNT:role/"), "{said}");
    }

    #[test]
    fn what_kiam_refused_has_no_role() {
        let allows = |permitted: &str, line: &str| {
            let objects = [namespace(&json!({"iam.amazonaws.com/permitted": permitted})), asks("a", "web", "web")];
            translated(PodAnnotations::Kiam, &objects, &format!("server --role-base-arn={BASE} {line}")).is_ok()
        };
        assert!(allows(".*", "") && allows("arn:aws:iam::123456789012:role/web", ""));
        assert!(!allows("", "") && !allows("web", "") && !allows("(", "") && !allows("a)|(?:.*", ""));
        assert!(allows("web", "--disable-strict-namespace-regexp"));
        // As Go reads it: an anchor at one end for each alternative.
        assert!(allows("x|web", ""));
    }

    #[test]
    fn kiam_assumes_by_the_role_of_its_server_and_names_sessions() {
        let own = json!({"iam.amazonaws.com/role": "web", "iam.amazonaws.com/session-name": "my session"});
        let objects = [namespace(&json!({"iam.amazonaws.com/permitted": ".*"})), pod("a", "web", &own)];
        let line = format!("--role-base-arn {BASE} --assume-role-arn {BASE}server --region eu-west-1");
        let text = translated(PodAnnotations::Kiam, &objects, &line).expect("roles");
        for part in [
            "aws_region: \"eu-west-1\"",
            "\"server\": {source: \"node\", role_arn: \"arn:aws:iam::123456789012:role/server\"}",
            "\"web\": {source: \"server\", role_arn: \"arn:aws:iam::123456789012:role/web\", session_name: \"kiam-my-session\"}",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!((session_name(&"x".repeat(60)).len(), session_name(&"x".repeat(59)).len()), (63, 64));
    }
}
