//! The configuration of the role server: where it listens, how callers prove who they are, and what they may have.

mod order;
mod read;
mod settings;
mod status_page;

use std::path::PathBuf;

use ipnet::IpNet;
pub use read::{load, parse, schema};
pub use settings::{MOUNT, SECTIONS, SETTINGS};
pub use status_page::StatusPage;

use crate::{
    confinement, console, directory, https,
    identity::Named,
    logging::{AuditTarget, Logging},
    protocol::Mount,
    record_files,
    rules::Rules,
    sandbox::Account,
    settings::{Listen, Problem},
    sts,
};

/// A valid configuration.
#[derive(Debug)]
pub struct Site {
    /// Where to listen. Never empty.
    pub listen: Vec<Listen>,
    /// The certificate of the server; without one it speaks plain HTTP.
    pub tls: Option<https::Files>,
    /// The ways in which callers prove who they are.
    pub identities: Vec<Named>,
    /// Directories of people, with their names.
    pub directories: Vec<(String, directory::Options)>,
    /// The parts of the server.
    pub mounts: Vec<MountSettings>,
    /// Which identity may have which role.
    pub rules: Rules,
    /// How roles are assumed.
    pub sts: sts::Options,
    /// How URLs of the console are made.
    pub console: console::Options,
    /// Where approvals are kept (`approvals`).
    pub approvals: Option<record_files::Options>,
    /// What is run for each emergency (`emergency_alert`).
    pub alarm: Option<AlarmSettings>,
    /// How many connections there may be.
    pub limits: Limits,
    /// Where balancers are, whose connections begin with a PROXY header (`proxy_protocol_from`).
    pub balancers: Vec<IpNet>,
    /// The log.
    pub logging: Logging,
    /// Where hand-outs and denials are recorded (`audit_log`).
    pub audit_log: Option<AuditTarget>,
    /// Whether nothing is handed out that cannot be recorded (`audit_required`).
    pub audit_required: bool,
    /// The account to become (`user`, `group`).
    pub account: Account,
    /// How the running server is confined (`sandbox`, `sandbox_allow`).
    pub sandbox: confinement::Options,
    /// The group that may connect to Unix sockets (`socket_group`).
    pub socket_group: Option<String>,
    /// Where metrics and health are shown (`metrics_listen`).
    pub metrics: Option<std::net::SocketAddr>,
    /// The page for a browser, if there is one (`status_page`).
    pub status_page: Option<StatusPage>,
}

/// A part of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSettings {
    /// Its prefix and its routes.
    pub mount: Mount,
    /// The names of the identity methods, in the order in which they are tried.
    pub identities: Vec<String>,
}

/// A program that is run for each emergency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmSettings {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether the role is given although it failed (`alert_failure: continue`).
    pub may_fail: bool,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of all clients together.
    pub connections: usize,
    /// Of one address.
    pub per_address: usize,
}

/// Open files beside the clients' connections: listeners, logs, calls to STS and others, look-ups of names.
const OTHER_FILES: usize = 1000;

impl Limits {
    /// The same for a process that may open so many `files`, of which at least half are for connections. If there may be
    /// fewer connections, one address has the same part of them.
    #[must_use]
    pub fn within(self, files: usize) -> Self {
        let connections = self.connections.min(files.saturating_sub(OTHER_FILES).max(files / 2)).max(1);
        let part = self.per_address.saturating_mul(connections) / self.connections.max(1);
        let per_address = if connections < self.connections { part.max(1) } else { self.per_address };
        Self { connections, per_address }
    }
}

/// A valid configuration, and what the administrator should know about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub site: Site,
    /// What is legal but perhaps not meant.
    pub warnings: Vec<Problem>,
    /// The files it was read from.
    pub files: Vec<PathBuf>,
}

impl Site {
    /// The keys whose value is another one in `new`, and of which only a restart takes notice.
    pub fn restart_keys(&self, new: &Self) -> Vec<&'static str> {
        let certificate = |site: &Self| site.tls.as_ref().map(|tls| tls.certificate.clone());
        let key = |site: &Self| site.tls.as_ref().map(|tls| tls.key.clone());
        let differs = [
            ("listen", self.listen != new.listen),
            ("tls_certificate", certificate(self) != certificate(new)),
            ("tls_key", key(self) != key(new)),
            ("sts", self.sts != new.sts),
            ("max_connections", self.limits.connections != new.limits.connections),
            ("max_connections_per_address", self.limits.per_address != new.limits.per_address),
            ("proxy_protocol_from", self.balancers != new.balancers),
            ("log_format", self.logging.format != new.logging.format),
            ("logging_handler", self.logging.handler != new.logging.handler),
            ("audit_log", self.audit_log != new.audit_log),
            ("audit_required", self.audit_required != new.audit_required),
            ("user", self.account.user != new.account.user),
            ("group", self.account.group != new.account.group),
            ("sandbox", self.sandbox.mode != new.sandbox.mode),
            ("sandbox_allow", self.sandbox.allow != new.sandbox.allow),
            ("socket_group", self.socket_group != new.socket_group),
            ("metrics_listen", self.metrics != new.metrics),
            ("status_page", self.status_page != new.status_page),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }

    /// Whether a secret is written in the configuration itself.
    pub fn has_secrets(&self) -> bool {
        let stars = |text: &str| text.contains("***");
        stars(&self.sts.render()) || self.identities.iter().any(|named| stars(&named.render()))
    }
}

#[cfg(test)]
mod tests;
