//! From files to a [`Site`]. All that is wrong is reported at once.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{AlarmSettings, Limits, Loaded, MOUNT, MountSettings, SETTINGS, Site, StatusPage, order::fault};
use crate::{
    confinement, console, directory, https,
    identity::{self, Named, proxy::network},
    logging::{AuditTarget, Logging},
    protocol::{Families, Mount},
    record_files,
    rules::{self, Terms},
    sandbox::Account,
    settings::{
        Fields, Keys, Listen, Node, Problem,
        load::{self, Texts},
        problem::ConfigErrors,
        read, schema,
        table::nearest,
    },
    source::process::command,
    sts,
};

/// What a mount has by default.
const BOTH: Families = Families { hosts: true, people: true };

/// Loads a YAML file, or all `*.yaml` of a directory, merged in alphabetical order.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    parse(load::texts(path, "`alppaca-ims demo` needs none")?)
}

/// The same for texts that have been read already.
pub fn parse(files: Texts) -> Result<Loaded, ConfigErrors> {
    let names = files.iter().map(|(name, _)| name.clone()).collect();
    build(load::tree(files)?, names)
}

/// The JSON Schema of a configuration; otherwise the keys that nothing reads.
pub fn schema() -> Result<Json, Vec<String>> {
    schema::schema("The configuration of alppaca-ims", |node| drop(build(Some(node), Vec::new())))
}

fn build(tree: Option<Node>, names: Vec<PathBuf>) -> Result<Loaded, ConfigErrors> {
    let mut fields = Fields::of_document(tree, &SETTINGS);
    fields.refuse_unknown();
    match site(&mut fields) {
        Some(site) if fields.problems.is_empty() => Ok(Loaded { site, warnings: fields.warnings, files: names }),
        _ => Err(ConfigErrors(fields.problems)),
    }
}

fn site(fields: &mut Fields) -> Option<Site> {
    let tls = tls(fields);
    let listen = listen(fields, matches!(tls, Some(Some(_))));
    let directories = directory::read(fields);
    let identities = identities(fields);
    if let (Some(directories), Some(identities)) = (&directories, &identities) {
        check_directories(fields, directories, identities);
    }
    let mounts = mounts(fields, identities.as_deref().unwrap_or_default());
    let rules = rules::read(fields);
    if let (Some(rules), Some(identities)) = (&rules, &identities) {
        check_methods(fields, rules, identities);
    }
    let sts = sts::read(fields);
    let console = console::read(fields);
    if let (Some(rules), Some(sts)) = (&rules, &sts) {
        fields.problems.extend(sts.check(rules).into_iter().map(Problem::nowhere));
    }
    let connections = fields.value("max_connections", read::count);
    let per_address = fields.value("max_connections_per_address", read::count);
    let balancers = fields.value("proxy_protocol_from", |node| read::list(node, network));
    let logging = Logging::read(fields);
    let audit_log = fields.optional("audit_log", AuditTarget::read);
    let audit_required = fields.value("audit_required", read::boolean);
    if let (Some(true), Some(None), Some(place)) = (audit_required, &audit_log, fields.place("audit_required")) {
        fields.problems.push(Problem::new(place, "`audit_required` has no effect without `audit_log`"));
    }
    let approvals = record_files::Options::read(fields);
    let terms = rules.as_ref().map(|rules| {
        let kept = !matches!(approvals, Some(None));
        terms(fields, rules, audit_required == Some(false), kept)
    });
    let alarm = alarm(fields, terms.unwrap_or(true));
    let user = fields.optional("user", read::text);
    let group = fields.optional("group", read::text);
    let sandbox = confinement::Options::read(fields);
    let socket_group = fields.optional("socket_group", read::text);
    let metrics = fields.optional("metrics_listen", read::socket_address);
    let status_page = fields.section("status_page", StatusPage::SETTINGS, StatusPage::read);
    Some(Site {
        listen: listen?,
        tls: tls?,
        identities: identities?,
        directories: directories?,
        mounts: mounts?,
        rules: rules?,
        sts: sts?,
        console: console?,
        approvals: approvals?,
        alarm: alarm?,
        limits: Limits { connections: connections?, per_address: per_address? },
        balancers: balancers?,
        logging: logging?,
        audit_log: audit_log?,
        audit_required: audit_required?,
        account: Account { user: user?, group: group? },
        sandbox: sandbox?,
        socket_group: socket_group?,
        metrics: metrics?,
        status_page: status_page?,
    })
}

/// Whether each method that a rule names is there, by its name or its kind: otherwise a rule that denies would deny nothing.
fn check_methods(fields: &mut Fields, rules: &rules::Rules, identities: &[Named]) {
    let names = || identities.iter().map(|named| named.name.as_str());
    let kinds = || identities.iter().map(|named| named.method.word());
    for rule in &rules.rules {
        let approval = match rule.terms() {
            Some(Terms::Approval(approval)) => Some(&approval.by),
            _ => None,
        };
        let methods =
            std::iter::once(&rule.matching).chain(approval).flat_map(|matching| matching.method.iter().flatten());
        for method in methods.filter(|method| !names().chain(kinds()).any(|known| known == *method)) {
            let hint = nearest(method, names().chain(kinds()));
            let hint = hint.map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
            let message = format!(
                "rule {:?}: there is no identity method {method:?}, neither as a name nor as a kind; there are {}{hint}",
                rule.name,
                identities
                    .iter()
                    .map(|named| format!("{} ({})", named.name, named.method.word()))
                    .collect::<Vec<_>>()
                    .join(", "),
            );
            fields.problems.push(
                fields.place("rules").map_or_else(|| Problem::nowhere(&message), |place| Problem::new(place, &message)),
            );
        }
    }
}

/// What rules with terms need of the rest. Answers whether there is one for emergencies.
fn terms(fields: &mut Fields, rules: &rules::Rules, unrecorded: bool, kept: bool) -> bool {
    let mut emergencies = false;
    for rule in &rules.rules {
        let what = match rule.terms() {
            Some(Terms::Emergency(_)) => "is for emergencies, whose alerts must not be lost",
            Some(Terms::Approval(_)) => "needs approvals, which must not be lost",
            Some(Terms::Always) | None => continue,
        };
        let approval = matches!(rule.terms(), Some(Terms::Approval(_)));
        emergencies |= !approval;
        let name = &rule.name;
        if unrecorded {
            let message = format!("rule {name:?} {what}: set `audit_log` and `audit_required: yes`");
            fields.problems.push(Problem::nowhere(message));
        }
        if approval && !kept {
            let message =
                format!("rule {name:?} needs approvals, and `approvals` is missing: it says where they are kept");
            fields.problems.push(Problem::nowhere(message));
        }
    }
    emergencies
}

#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
fn alarm(fields: &mut Fields, has_emergencies: bool) -> Option<Option<AlarmSettings>> {
    let command = fields.optional("emergency_alert", command)?;
    let may_fail =
        fields.value("alert_failure", |node| read::choice(node, &[("refuse", false), ("continue", true)]))?;
    let key = if command.is_some() { "emergency_alert" } else { "alert_failure" };
    if let Some(place) = fields.place(key).filter(|_| command.is_none() || !has_emergencies) {
        let missing = if command.is_none() { "`emergency_alert`" } else { "a rule with `emergency`" };
        fields.warnings.push(Problem::new(place, format!("`{key}` has no effect without {missing}")));
    }
    Some(command.map(|command| AlarmSettings { command, may_fail }))
}

#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
fn tls(fields: &mut Fields) -> Option<Option<https::Files>> {
    fields.pair("tls_certificate", "tls_key");
    let certificate = fields.optional("tls_certificate", read::path)?;
    let key = fields.optional("tls_key", read::path)?;
    Some(certificate.zip(key).map(|(certificate, key)| https::Files { certificate, key }))
}

fn listen(fields: &mut Fields, tls: bool) -> Option<Vec<Listen>> {
    let listen = fields.value("listen", |node| read::filled_list(node, "there would be no listener", Listen::read))?;
    let plain = fields.value("plain_http", read::boolean)?;
    let place = fields.place("listen");
    let problem = |message: String| match place.clone() {
        Some(place) => Problem::new(place, message),
        None => Problem::nowhere(message),
    };
    if let Some(far) = listen.iter().find(|listen| !tls && !listen.is_local()) {
        if !plain {
            let message = format!(
                "credentials would travel from {far} in clear text: set `tls_certificate` and `tls_key`, listen at a \
                 loopback address or Unix socket behind a proxy, or allow it with `plain_http: yes`"
            );
            fields.problems.push(problem(message));
            return None;
        }
        fields.warnings.push(problem(format!("credentials will travel from {far} in clear text (`plain_http`)")));
    }
    Some(listen)
}

fn identities(fields: &mut Fields) -> Option<Vec<Named>> {
    let identities = identity::read(fields)?;
    if identities.is_empty() {
        let message = "there is no `identities`: no caller could prove who it is";
        fields.problems.push(Problem::nowhere(message));
        return None;
    }
    Some(identities)
}

/// Whether each directory that a method needs is there, and each that is there is needed.
fn check_directories(fields: &mut Fields, directories: &[(String, directory::Options)], identities: &[Named]) {
    let known = || directories.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    for named in identities {
        let missing = named.directories().find(|needed| directories.iter().all(|(name, _)| name != needed));
        if let (Some(missing), Some(place)) = (missing, fields.place("identities")) {
            let there =
                if directories.is_empty() { "there are none".to_owned() } else { format!("there are {}", known()) };
            let message = format!("{} needs {missing:?}, which is not one of `directories`: {there}", named.name);
            fields.problems.push(Problem::new(place, message));
        }
    }
    let unused = directories
        .iter()
        .find(|(name, _)| !identities.iter().any(|named| named.directories().any(|needed| needed == name)));
    if let (Some((name, _)), Some(place)) = (unused, fields.place("directories")) {
        let message = format!("the directory {name} is not used by any of `identities`");
        fields.warnings.push(Problem::new(place, message));
    }
}

fn mounts(fields: &mut Fields, identities: &[Named]) -> Option<Vec<MountSettings>> {
    let all = || identities.iter().map(|named| named.name.clone()).collect::<Vec<_>>();
    if fields.given("mounts").is_none() {
        if let (Some(fault), Some(place)) = (fault(&all(), identities), fields.place("identities")) {
            fields.problems.push(Problem::new(place, fault));
        }
        let mount = Mount { prefix: String::new(), families: BOTH };
        return Some(vec![MountSettings { mount, identities: all() }]);
    }
    let known = |node: &Node| {
        let name = read::text(node)?;
        if identities.is_empty() || identities.iter().any(|named| named.name == name) {
            return Ok(name);
        }
        let message = format!("there is no identity method {name:?}; there are {}", all().join(", "));
        Err(Problem::new(node.place.clone(), message))
    };
    let mut prefixes: Vec<String> = Vec::new();
    fields.filled_items("mounts", "there would be no route", MOUNT, |place, fields| {
        let prefix = fields.value("path", prefix);
        let given = fields.optional("identities", |node| read::list(node, known));
        let families = fields.optional("routes", families);
        let prefix = prefix?;
        if prefixes.contains(&prefix) {
            fields.problems.push(Problem::new(place.clone(), "another of `mounts` has the same `path`"));
        }
        prefixes.push(prefix.clone());
        let order = given?.unwrap_or_else(all);
        if let Some(fault) = fault(&order, identities) {
            fields.problems.push(Problem::new(place.clone(), fault));
        }
        let mount = Mount { prefix, families: families?.unwrap_or(BOTH) };
        Some(MountSettings { mount, identities: order })
    })
}

/// `/` is the empty prefix; others have a slash at their beginning and none at their end.
fn prefix(node: &Node) -> Result<String, Problem> {
    let text = read::text(node)?;
    let prefix = text.trim_end_matches('/');
    let legal = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if text.starts_with('/') && prefix.chars().all(legal) && !prefix.contains("//") && !prefix.contains("/.") {
        Ok(prefix.to_owned())
    } else {
        Err(Problem::new(node.place.clone(), "a path such as /afp-api/latest is expected here"))
    }
}

fn families(node: &Node) -> Result<Families, Problem> {
    let words = [("hosts", (true, false)), ("people", (false, true))];
    let chosen = read::filled_list(node, "there would be no route", |node| read::choice(node, &words))?;
    let [hosts, people] = [chosen.iter().any(|(hosts, _)| *hosts), chosen.iter().any(|(_, people)| *people)];
    Ok(Families { hosts, people })
}
