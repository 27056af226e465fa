//! Every setting, once: its key, its default, what it means. Unknown keys are told by this table,
//! the documentation is made from it, and `check` prints in its order.

use std::sync::LazyLock;

use alppaca_settings::{
    Keys, Section, Setting,
    Topic::{self, AssumeRole, Logging, Process, Refreshing, Serving, Sources},
};

use crate::{
    confinement,
    faces::{self, Common, imds},
    page,
    source::{KINDS, ims},
    webhook,
};

/// The settings that only a restart changes, each with its section: `listen`, `container.listen`.
pub fn restart_keys() -> impl Iterator<Item = String> {
    let flat = SETTINGS.iter().filter(|setting| setting.needs_restart()).map(|setting| setting.key.to_owned());
    let nested = SECTIONS.iter().flat_map(|Section { path, settings }| {
        settings.iter().filter(|setting| setting.needs_restart()).map(move |setting| format!("{path}.{}", setting.key))
    });
    flat.chain(nested)
}

const fn setting(topic: Topic, key: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting::new(topic, key, default, meaning)
}

/// A setting that only a restart changes.
const fn fixed(topic: Topic, key: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting::new(topic, key, default, meaning).on_restart()
}

/// All settings, in the order of the documentation.
pub static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let sections = faces::ALL.iter().map(|entry| entry.section);
    let flat = imds::options::SETTINGS.into_iter().chain(Common::SETTINGS);
    let faces = flat.chain([imds::options::SECTION]).chain(sections);
    let before = ims::FLAT.into_iter().chain(BEFORE_FACES.iter().copied());
    before.chain(faces).chain(AFTER_FACES.iter().copied()).collect()
});

/// Those between the keys of the IMS and those of the faces.
const BEFORE_FACES: &[Setting] = &[
    fixed(Serving, "bind_ip", "127.0.0.1", "The address to listen on."),
    fixed(Serving, "bind_port", "25772", "The port to listen on; 0 takes a free one."),
    fixed(Serving, "listen", "", "Replaces the two above: a list of `address:port`, IPv6 as `[::1]:25772`."),
    fixed(
        Serving,
        "capture_listen",
        "",
        "Where the daemon listens for connections that `alppaca capture --mode dnat` redirects: `address:port`, or \
         `none`. By default \
         `127.0.0.1:25774` if the daemon listens on `127.0.0.1:25772` and no other listener has the port, else `none`.",
    ),
];

/// Those after the keys of the faces.
const AFTER_FACES: &[Setting] = &[
    setting(
        Serving,
        "policy",
        "",
        "A mapping: which caller gets which role. See [below](#policy) and [Policy](policy.md). Without it every \
         caller gets all roles.",
    ),
    setting(
        Serving,
        "containers",
        "",
        "A mapping: which roles the containers of Docker and Podman get. See [below](#containers) and [Roles of \
         containers](containers.md).",
    ),
    webhook::SECTION,
    setting(
        Serving,
        "files",
        "",
        "A list: roles that are written into files, for programs that read nothing else. See [below](#files) and \
         [Files](files.md).",
    ),
    fixed(
        Serving,
        "max_connections",
        "8192",
        "How many connections may be open at once. At the limit, a new connection evicts idle ones of the user or \
         address with the most connections.",
    ),
    fixed(Serving, "header_timeout", "5s", "Longest time from the first byte of a request to the end of its head."),
    fixed(Serving, "idle_timeout", "60s", "How long a connection may stay open without a request."),
    fixed(
        Serving,
        "write_timeout",
        "10s",
        "Longest time for a client to read an answer, or all answers to pipelined requests.",
    ),
    setting(
        Refreshing,
        "refresh_interval",
        "5m",
        "How often the role list of the IMS is fetched, give or take a quarter. `Cache-Control: max-age` of the list \
         takes precedence, between 1m and 1h. It does not affect credentials, which are fetched by their age.",
    ),
    setting(
        Refreshing,
        "withdrawal_grace",
        "",
        "How long an upstream must refuse a role (403, 404, another 4xx, an empty role list, an error document) \
         before its credentials are withdrawn although they are still valid; `0s`: at once. By default they are served until they expire, because a refusal may be the upstream's own failure. [More](states.md#what-takes-a-role-away).",
    ),
    setting(
        Logging,
        "log_level",
        "warning",
        "`debug`, `info`, `warning` or `error`. `warning` includes start, stop, reload and changes of roles; \
         requests are logged at every level (`access_log`).",
    ),
    fixed(Logging, "log_format", "alppaca: [%(levelname)s] %(message)s", "A format of Python's `logging`, or `json`."),
    fixed(
        Logging,
        "logging_handler",
        "",
        "A mapping of `module`, `class`, `args` and `kwargs`: a handler of Python's `logging`. Without it: the journal under \
         systemd, else syslog at `/dev/log`, else stderr.",
    ),
    fixed(
        Logging,
        "audit_log",
        "",
        "Where each hand-out of credentials and each denial is recorded: an absolute path, `syslog` or \
         `journal`. See [Audit](audit.md).",
    ),
    fixed(
        Logging,
        "audit_required",
        "false",
        "Whether credentials are handed out only if that can be recorded: while `audit_log` cannot be written, clients get \
         503.",
    ),
    setting(Logging, "access_log", "true", "Whether each request is logged."),
    fixed(
        Process,
        "user",
        "",
        "The account to become after binding. Needs root at the start. By default root becomes `alppaca` if that \
         account exists, else it stays root and warns; `root` confirms that.",
    ),
    fixed(Process, "group", "", "The group to become; by default the account's own."),
    fixed(
        Process,
        "sandbox",
        "enforce",
        "`enforce`, `report` or `off`: how the running daemon is confined to the files, ports and system calls that this \
         configuration needs. See [Sandbox](sandbox.md).",
    ),
    fixed(
        Process,
        "sandbox_allow",
        "",
        "A mapping: files and ports that the sandbox allows beside those that follow from this configuration, such as those \
         of a module of the name service. See [below](#sandbox_allow).",
    ),
    fixed(
        Process,
        "ready_wait",
        "30s",
        "How long to wait for the first credentials before reporting ready anyway (`Type=notify`, `alppacad start`).",
    ),
    fixed(
        Process,
        "run_dir",
        "/run/alppaca",
        "The directory of the pid file and of the admin socket. A daemon of a plain user, which cannot write to the \
         default, uses `$XDG_RUNTIME_DIR/alppaca`, or `~/.local/state/alppaca`.",
    ),
    fixed(
        Process,
        "admin_socket",
        "",
        "The Unix socket of `status`, `credentials`, `exec` and the metrics: a path, or `off`. By default `alppaca.sock` in \
         `run_dir`.",
    ),
    fixed(
        Process,
        "admin_group",
        "",
        "The group whose members may connect to the admin socket, and see the state of all roles. Without it every \
         user may connect, and sees the roles granted to that user.",
    ),
    fixed(
        Process,
        "metrics_listen",
        "",
        "`address:port` of an HTTP listener for the metrics, `/livez` and `/readyz` only, without authentication. \
         The metrics name the roles. Without it they are only at the admin socket.",
    ),
    fixed(
        Process,
        "status_page",
        "",
        "A mapping: a page for a browser on which the roles are on a timeline, with the sources and the callers. See \
         [below](#status_page) and [Status page](status-page.md).",
    ),
    fixed(
        Process,
        "traces_endpoint",
        "",
        "The URL of an OpenTelemetry collector, such as `http://127.0.0.1:4318`, that gets a span for each call to an \
         upstream; or `environment`: the one of `OTEL_EXPORTER_OTLP_ENDPOINT`. Only in a build with the feature `otel`. See \
         [Traces](traces.md).",
    ),
    fixed(
        Process,
        "sign_in_notification",
        "no",
        "Whether a user's own daemon shows a desktop notification (by `notify-send`) when a sign-in has ended and the person \
         is needed. See [Desktops](desktop.md#signing-in).",
    ),
    setting(
        Sources,
        "sources",
        "",
        "The named upstreams: a mapping of names to mappings with a `kind` and its settings, as below.",
    ),
    setting(
        Sources,
        "roles",
        "",
        "The roles that are served, in this order: a mapping of names to mappings, as below. Without it, all roles \
         that the first IMS lists are served.",
    ),
    setting(
        AssumeRole,
        "assume_role",
        "",
        "ARN of a role to assume with the credentials of the first role of the IMS. Only it is served, under the last part \
         of the ARN. `roles` can do more.",
    ),
    setting(AssumeRole, "aws_proxy_host", "", "Proxy for that call only."),
    setting(AssumeRole, "aws_proxy_port", "", "Its port."),
    setting(AssumeRole, "aws_region", "eu-central-1", "The region of STS."),
];

/// All sections, in the order of the documentation.
pub static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
    let metadata = [(imds::options::SECTION.key, imds::options::Metadata::SETTINGS)];
    let faces = faces::ALL
        .iter()
        .flat_map(|entry| [(entry.section.key, entry.settings)].into_iter().chain(entry.below.iter().copied()));
    let fixed = |(path, settings): (&'static str, _)| Section { path: path.into(), settings };
    let kinds = KINDS.iter().flat_map(|kind| {
        let own = Section { path: format!("sources.NAME` of `kind: {}", kind.word).into(), settings: kind.settings };
        let below = |(path, settings): &(&str, &'static [Setting])| Section {
            path: format!("sources.NAME.{path}").into(),
            settings,
        };
        std::iter::once(own).chain(kind.below.iter().map(below))
    });
    POLICY
        .into_iter()
        .chain(metadata)
        .chain(faces)
        .chain([("roles.NAME", super::roles::SETTINGS)])
        .map(fixed)
        .chain(kinds)
        .chain(
            [
                ("containers", super::CONTAINERS),
                (webhook::SECTION.key, webhook::Options::SETTINGS),
                ("status_page", page::Options::SETTINGS),
                ("files", super::FILE),
                ("sandbox_allow", confinement::options::ALLOW),
            ]
            .map(fixed),
        )
        .collect()
});

/// The sections of the policy.
const POLICY: [(&str, &[Setting]); 3] =
    [("policy", super::POLICY), ("policy.rules", super::RULE), ("policy.rules.match", super::MATCH)];
