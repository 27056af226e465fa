//! From the merged tree to a validated [`Config`]. All that is wrong is told at once.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{
    Config, Loaded, Refresh, TRACES_OF_ENVIRONMENT,
    addresses::conflicts,
    admin::admin,
    containers::{check_source, containers},
    files::files,
    named_roles, own_sessions,
    policy::policy,
    settings::SETTINGS,
    upstreams::{Upstreams, upstreams},
};
use crate::{
    confinement,
    faces::{self, Common, Section, imds, open_address},
    http::Limits,
    logging::{AuditTarget, Logging},
    page,
    policy::{Condition, Effect, Rule, Rules},
    sandbox::Account,
    webhook,
};
use alppaca_settings::{
    Keys,
    fields::Fields,
    problem::{ConfigErrors, Problem},
    read,
    url::is_base_url,
    yaml::{Node, Value},
};

/// Builds the configuration; `None` stands for files without content.
pub(super) fn config(tree: Option<Node>) -> Result<Loaded, ConfigErrors> {
    let written = match tree.as_ref().map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|(key, _)| key.text.clone()).collect(),
        _ => BTreeSet::new(),
    };
    let mut fields = Fields::of_document(tree, &SETTINGS);
    fields.refuse_unknown();
    let upstreams = upstreams(&mut fields);
    let listen = listen(&mut fields);
    let rest = rest(&mut fields, upstreams.as_ref());
    let conflicts = conflicts(&fields);
    fields.problems.extend(conflicts);
    match (upstreams, listen, rest) {
        (Some(upstreams), Some(listen), Some(rest)) if fields.problems.is_empty() => {
            named_roles::warn(&mut fields, &upstreams);
            let config = rest(upstreams, listen);
            match check_source(&config) {
                Some(problem) => Err(problem.into()),
                None => Ok(Loaded { config, warnings: fields.warnings, files: Vec::new(), written }),
            }
        }
        _ => Err(ConfigErrors(fields.problems)),
    }
}

/// Where redirected connections arrive by default: beside the usual listener, unless another listener has that port.
fn usual_capture(listen: &[SocketAddr], others: &[SocketAddr]) -> Option<SocketAddr> {
    let [usual, capture] = [super::DEFAULT_LISTEN, super::DEFAULT_CAPTURE].map(SocketAddr::from);
    let covers = |address: &SocketAddr, one: SocketAddr| {
        address.port() == one.port() && (address.ip() == one.ip() || address.ip().is_unspecified())
    };
    let is_usual = listen.iter().any(|address| covers(address, usual));
    let is_taken = listen.iter().chain(others).any(|address| covers(address, capture));
    (is_usual && !is_taken).then_some(capture)
}

fn listen(fields: &mut Fields) -> Option<Vec<SocketAddr>> {
    fields.exclude("listen", &["bind_ip", "bind_port"]);
    let (place, addresses) = match fields.given("listen") {
        Some(node) => {
            let place = node.place.clone();
            let read = read::filled_list(node, "the daemon would listen nowhere", read::socket_address);
            (Some(place), fields.note(read)?)
        }
        None => {
            let ip = fields.value("bind_ip", read::ip);
            let port = fields.value("bind_port", read::listen_port);
            (fields.given("bind_ip").map(|node| node.place.clone()), vec![SocketAddr::new(ip?, port?)])
        }
    };
    if let (Some(address), Some(place)) = (open_address(&addresses), place) {
        let message = format!("every client that reaches {address} over the network can take the credentials");
        fields.warnings.push(Problem::new(place, message));
    }
    Some(addresses)
}

/// Everything else, as a function of the upstream and the listeners.
fn rest(
    fields: &mut Fields,
    upstreams: Option<&Upstreams>,
) -> Option<impl FnOnce(Upstreams, Vec<SocketAddr>) -> Config + use<>> {
    let capture = fields.optional("capture_listen", read::none_or_socket_address);
    let common = Common::read(fields);
    let imds = imds::Options::read(fields);
    let faces: Vec<_> = faces::ALL.iter().map(|entry| Section::read(entry, fields)).collect();
    // Only when they are right by themselves.
    if let Some(upstreams) = upstreams.filter(|_| fields.problems.is_empty()) {
        own_sessions::check(fields, faces.iter().flatten().flatten(), upstreams);
    }
    let policy = policy(fields);
    let audit_log = fields.optional("audit_log", AuditTarget::read);
    let audit_required = audit_required(fields, audit_log.as_ref());
    let containers = containers(fields);
    let webhook = webhook(fields, &faces);
    let files = files(fields, upstreams);
    let limits = limits(fields);
    let refresh = refresh(fields);
    let logging = Logging::read(fields);
    let user = fields.optional("user", read::text);
    let group = fields.optional("group", read::text);
    let sandbox = confinement::Options::read(fields);
    let ready_wait = fields.value("ready_wait", read::duration);
    let run_dir = fields.value("run_dir", read::path);
    let admin = admin(fields, run_dir.as_deref());
    let status_page = fields.section("status_page", page::Options::SETTINGS, page::Options::read);
    let traces = traces_endpoint(fields);
    let notification = fields.value("sign_in_notification", read::boolean);
    let account = Account { user: user?, group: group? };
    let faces: Vec<Section> = faces.into_iter().collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
    let (policy, audit_log, audit_required) = (policy?, audit_log?, audit_required?);
    let (capture, containers, webhook, files) = (capture?, containers?, webhook?, files?);
    let (common, imds, limits, refresh, logging) = (common?, imds?, limits?, refresh?, logging?);
    let sandbox = sandbox?;
    let (ready_wait, run_dir, admin, sign_in_notification) = (ready_wait?, run_dir?, admin?, notification?);
    let (status_page, traces_endpoint) = (status_page?, traces?);
    let others: Vec<SocketAddr> = faces.iter().flat_map(|face| &face.listen).copied().collect();
    Some(move |upstreams, listen: Vec<SocketAddr>| Config {
        policy: policy.or_else(|| owner_only(&upstreams, &account)),
        upstreams,
        capture_listen: capture.unwrap_or_else(|| usual_capture(&listen, &others)),
        listen,
        common,
        imds,
        faces,
        audit_log,
        audit_required,
        containers,
        webhook,
        files,
        limits,
        refresh,
        logging,
        account,
        sandbox,
        ready_wait,
        run_dir,
        admin,
        status_page,
        traces_endpoint,
        sign_in_notification,
    })
}

/// The rules where there is no policy: roles of one person are for the daemon's own account, which is that person's, and
/// for no other user of the host.
fn owner_only(upstreams: &Upstreams, account: &Account) -> Option<Rules> {
    let personal = upstreams.sources.iter().any(|source| source.kind.is_personal());
    let owner = account.user.clone().unwrap_or_else(|| rustix::process::geteuid().as_raw().to_string());
    let rule = Rule {
        name: Some("owner".to_owned()),
        when: vec![Condition::User(vec![owner])],
        unless: Vec::new(),
        effect: Effect::Everything,
    };
    personal.then(|| Rules { rules: vec![rule], default: Effect::Deny })
}

fn limits(fields: &mut Fields) -> Option<Limits> {
    let connections = fields.value("max_connections", read::count);
    let header_timeout = fields.value("header_timeout", read::limit);
    let idle_timeout = fields.value("idle_timeout", read::limit);
    let write_timeout = fields.value("write_timeout", read::limit);
    Some(Limits {
        connections: connections?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        write_timeout: write_timeout?,
    })
}

fn refresh(fields: &mut Fields) -> Option<Refresh> {
    let interval = fields.value("refresh_interval", read::interval);
    let withdrawal_grace = fields.optional("withdrawal_grace", read::duration);
    Some(Refresh { interval: interval?, withdrawal_grace: withdrawal_grace? })
}

#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
fn traces_endpoint(fields: &mut Fields) -> Option<Option<String>> {
    let endpoint = fields.optional("traces_endpoint", |node| {
        let text = read::text_like(node, "^(https?://.+|environment)$")?;
        if text == TRACES_OF_ENVIRONMENT || is_base_url(&text) {
            Ok(text)
        } else {
            // Not the text: a user or a query may be a secret.
            let message = "the URL of a collector, without user and query, such as http://127.0.0.1:4318, or `environment` \
                           is expected here";
            Err(Problem::new(node.place.clone(), message).without_line())
        }
    });
    if let (false, Some(place)) = (cfg!(feature = "otel"), fields.place("traces_endpoint")) {
        let message = "this build of alppaca has no traces, so none are sent: leave `traces_endpoint` out, or build it with \
                       `--features otel`";
        fields.warnings.push(Problem::new(place, message));
    }
    endpoint
}

/// The webhook, which needs to know of which pods it is.
#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
fn webhook(fields: &mut Fields, faces: &[Option<Option<Section>>]) -> Option<Option<webhook::Options>> {
    let section = fields.section(webhook::SECTION.key, webhook::Options::SETTINGS, webhook::Options::read)?;
    let of_pods = |face: &Option<Option<Section>>| match face {
        Some(Some(section)) => section.key() == "pod_identity",
        // It is wrong, and that is told.
        face => face.is_none(),
    };
    if let Some(place) = fields.place(webhook::SECTION.key).filter(|_| section.is_some() && !faces.iter().any(of_pods))
    {
        let message = "`webhook` needs `pod_identity` as well, which says which service accounts have roles";
        fields.problems.push(Problem::new(place, message));
        return None;
    }
    Some(section)
}

#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
fn audit_required(fields: &mut Fields, log: Option<&Option<AuditTarget>>) -> Option<bool> {
    let required = fields.value("audit_required", read::boolean)?;
    match (log, fields.place("audit_required")) {
        (Some(None), Some(place)) if required => {
            let message = "there is no audit to require: set `audit_log` as well";
            fields.problems.push(Problem::new(place, message));
            None
        }
        _ => Some(required),
    }
}

impl Config {
    /// A configuration of nothing but defaults, with that role list.
    pub fn with_ims(list_url: &str) -> Result<Self, ConfigErrors> {
        super::parse(vec![("built-in".into(), format!("ims_url: {list_url}\n"))]).map(|loaded| loaded.config)
    }
}
