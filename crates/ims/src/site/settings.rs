//! Every setting of `alppaca-ims`, once.

use std::sync::LazyLock;

use super::status_page::StatusPage;
use crate::{
    confinement, console, directory,
    identity::{self, COMMON, METHODS},
    record_files, rules,
    settings::{Keys, Section, Setting, Topic},
    sts,
};

/// The settings at the top.
pub static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let of_rooms = identity::SETTINGS.iter().chain(directory::SETTINGS).chain(rules::SETTINGS);
    OWN.iter().copied().chain(of_rooms.map(|setting| Setting { topic: Topic::Serving, ..*setting })).collect()
});

const OWN: &[Setting] = &[
    Setting::new(
        Topic::Serving,
        "listen",
        "0.0.0.0:8443",
        "Where to listen: `address:port` or `unix:/path`, or a list of them. A Unix socket speaks plain HTTP, for a \
         reverse proxy on this host.",
    )
    .on_restart(),
    Setting::new(
        Topic::Serving,
        "tls_certificate",
        "",
        "The certificate of this server with its chain, PEM. The file is read again once a minute.",
    )
    .on_restart(),
    Setting::new(Topic::Serving, "tls_key", "", "Its private key, PEM.").on_restart(),
    Setting::new(
        Topic::Serving,
        "plain_http",
        "no",
        "`yes`: without a certificate, listens also at addresses that other hosts reach. Credentials then travel in clear \
         text.",
    ),
    Setting::new(
        Topic::Serving,
        "mounts",
        "",
        "A list of the parts of the server, each with `path`, `identities` and `routes`. By default one at `/` with all \
         identities and the routes of both hosts and people.",
    ),
    Setting::new(Topic::Serving, "sts", "", "How roles are assumed: whose credentials, where, and how often. Required.")
        .on_restart(),
    Setting::new(Topic::Serving, "console", "", "How URLs of the AWS console are made."),
    Setting { topic: Topic::Serving, ..record_files::SECTION },
    Setting::new(
        Topic::Serving,
        "emergency_alert",
        "",
        "A program and its arguments: a list, or a text that is split like in a shell. It is run for each emergency before \
         the answer, for 10s at most, with what it is about in variables such as `EMERGENCY_REASON`. With `sandbox: enforce` \
         another program, or other arguments, need a restart.",
    ),
    Setting::new(
        Topic::Serving,
        "alert_failure",
        "refuse",
        "`refuse`: if that program fails, the answer is 503 and nothing is handed out. `continue`: the failure is logged.",
    ),
    Setting::new(Topic::Serving, "max_connections", "10000", "The most connections of all clients together.").on_restart(),
    Setting::new(
        Topic::Serving,
        "max_connections_per_address",
        "5000",
        "The most connections of one address. A load balancer is one address, unless it is in `proxy_protocol_from`.",
    )
    .on_restart(),
    Setting::new(
        Topic::Serving,
        "proxy_protocol_from",
        "[]",
        "Addresses or networks of load balancers that pass TLS through. Each of their connections has to begin with a header \
         of the PROXY protocol (version 1 or 2), which says where the client is. From elsewhere such a header is refused.",
    )
    .on_restart(),
    Setting::new(
        Topic::Logging,
        "log_level",
        "warning",
        "`debug`, `info`, `warning` or `error`. `warning` includes start, stop and reload; requests are logged at every \
         level (`access_log`).",
    ),
    Setting::new(
        Topic::Logging,
        "log_format",
        "alppaca-ims: [%(levelname)s] %(message)s",
        "A format of Python's `logging`, or `json`.",
    )
    .on_restart(),
    Setting::new(
        Topic::Logging,
        "logging_handler",
        "",
        "A mapping of `module`, `class`, `args` and `kwargs`: a handler of Python's `logging`. Without it: the journal under \
         systemd, else syslog at `/dev/log`, else stderr.",
    )
    .on_restart(),
    Setting::new(Topic::Logging, "access_log", "true", "Whether each request is logged."),
    Setting::new(
        Topic::Logging,
        "audit_log",
        "",
        "Where each hand-out of credentials and each denial is recorded: an absolute path, `syslog` or `journal`.",
    )
    .on_restart(),
    Setting::new(
        Topic::Logging,
        "audit_required",
        "false",
        "Whether credentials are handed out only if that can be recorded: while `audit_log` cannot be written, clients get \
         503.",
    )
    .on_restart(),
    Setting::new(
        Topic::Process,
        "user",
        "",
        "The account to become after binding. Needs root at the start. By default root becomes `alppaca-ims` if that \
         account exists, else it stays root and warns; `root` confirms that.",
    )
    .on_restart(),
    Setting::new(Topic::Process, "group", "", "The group to become; by default the account's own.").on_restart(),
    Setting::new(
        Topic::Process,
        "sandbox",
        "enforce",
        "`enforce`, `report` or `off`: how the running server is confined to the files, ports and system calls that this \
         configuration needs. See [Sandbox](sandbox.md#alppaca-ims).",
    )
    .on_restart(),
    Setting::new(
        Topic::Process,
        "sandbox_allow",
        "",
        "A mapping: files and ports that the sandbox allows beside those that follow from this configuration, such as those \
         of a module of the name service. See [below](#sandbox_allow).",
    )
    .on_restart(),
    Setting::new(
        Topic::Process,
        "socket_group",
        "",
        "The group whose members may connect to Unix sockets of `listen`, such as that of a reverse proxy; by default only \
         the account itself and root.",
    )
    .on_restart(),
    Setting::new(
        Topic::Process,
        "metrics_listen",
        "",
        "`address:port` of an HTTP listener for the metrics, `/livez` and `/readyz` only, without authentication.",
    )
    .on_restart(),
    Setting::new(
        Topic::Process,
        "status_page",
        "",
        "A mapping: a page for a browser with decisions, STS and, if that is wanted, hosts and people. See \
         [below](#status_page) and [Status page](status-page.md#of-the-role-server).",
    )
    .on_restart(),
];

/// The settings of one of `mounts`.
pub const MOUNT: &[Setting] = &[
    Setting::nested("path", "/", "What its paths begin with, such as `/afp-api/latest`."),
    Setting::nested(
        "identities",
        "",
        "Names of `identities`, in the order in which they are tried. By default all of them.",
    ),
    Setting::nested(
        "routes",
        "[hosts, people]",
        "`hosts`: `latest/meta-data/iam/security-credentials/`. `people`: `account`. Or a list of both.",
    ),
];

/// What stands below these.
pub static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
    let section = |path: &str, settings| Section { path: path.to_owned().into(), settings };
    let mut sections = vec![section("identities.NAME", COMMON)];
    sections.extend(
        METHODS.iter().map(|entry| section(&format!("identities.NAME` with `kind: {}", entry.word), entry.settings)),
    );
    sections.push(section("directories.NAME", directory::TABLE));
    sections.push(section("mounts[]", MOUNT));
    sections.extend(rules::sections());
    sections.push(section("approvals", record_files::SETTINGS));
    sections.push(section("sts", sts::SETTINGS));
    sections.push(section("console", console::SETTINGS));
    sections.push(section("status_page", StatusPage::SETTINGS));
    sections.push(section("sandbox_allow", confinement::options::ALLOW));
    sections
});
