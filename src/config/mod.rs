//! The configuration: a YAML file, or a directory of them, made into a typed, validated [`Config`].
//! The keys of the 2015 tool are translated here and nowhere else.

mod addresses;
mod admin;
mod build;
mod containers;
mod files;
mod load;
mod named_roles;
mod own_sessions;
mod policy;
mod render;
mod restart;
mod roles;
mod schema;
mod settings;
mod sources;
mod upstreams;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use admin::Admin;
pub use containers::{CONTAINERS, Containers};
pub use files::{ConfiguredFile, FILE};
pub use load::{Loaded, load, parse};
pub use policy::{MATCH, POLICY, RULE};
pub use roles::{CHAINED, Origin, Role, can_be_tagged, can_last, is_assumed, origin};
pub use schema::schema;
pub use settings::{SECTIONS, SETTINGS, restart_keys};
pub use sources::Source;
pub use upstreams::Upstreams;

use crate::{
    confinement,
    faces::{self, Common, imds},
    http::Limits,
    logging::{AuditTarget, Logging},
    page,
    policy::Rules,
    sandbox::Account,
    webhook,
};

/// Where the daemon listens unless it is told otherwise, and where the shipped socket unit listens.
pub const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 25772);
/// Where redirected connections arrive by default.
pub const DEFAULT_CAPTURE: ([u8; 4], u16) = ([127, 0, 0, 1], 25774);

/// Everything the daemon was told, validated. There are no optional values with a default left:
/// the defaults are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where credentials come from.
    pub upstreams: Upstreams,
    /// Where to listen (`listen`, or `bind_ip` and `bind_port`). Never empty.
    pub listen: Vec<SocketAddr>,
    /// Where connections arrive that a firewall redirects (`capture_listen`).
    pub capture_listen: Option<SocketAddr>,
    /// What is the same for all faces.
    pub common: Common,
    /// The IMDS face.
    pub imds: imds::Options,
    /// The other faces that are wanted, each with its section.
    pub faces: Vec<faces::Section>,
    /// Who gets which role; without it everybody gets all (`policy`).
    pub policy: Option<Rules>,
    /// Where hand-outs and denials are recorded (`audit_log`).
    pub audit_log: Option<AuditTarget>,
    /// Whether nothing is handed out that cannot be recorded (`audit_required`).
    pub audit_required: bool,
    /// Which roles containers get (`containers`); without it nobody asks whether there are any.
    pub containers: Option<Containers>,
    /// How pods of a Kubernetes cluster are told of the daemon (`webhook`), which is another process.
    pub webhook: Option<webhook::Options>,
    /// Which roles are written into files (`files`).
    pub files: Vec<ConfiguredFile>,
    /// Bounds of the HTTP server.
    pub limits: Limits,
    /// When to fetch.
    pub refresh: Refresh,
    /// Where the log goes and what it looks like.
    pub logging: Logging,
    /// Whom to become after binding.
    pub account: Account,
    /// How the running daemon is confined (`sandbox`, `sandbox_allow`).
    pub sandbox: confinement::Options,
    /// Longest wait for the first successful fetch before readiness is told anyway (`ready_wait`).
    pub ready_wait: Duration,
    /// Directory of the pid file and the admin socket (`run_dir`).
    pub run_dir: PathBuf,
    /// The socket of `status`, `credentials` and `exec`.
    pub admin: Admin,
    /// The page for a browser, if there is one (`status_page`).
    pub status_page: Option<page::Options>,
    /// The base URL of the collector of traces, or [`TRACES_OF_ENVIRONMENT`] (`traces_endpoint`).
    pub traces_endpoint: Option<String>,
    /// Whether a person is told who has to sign in again (`sign_in_notification`).
    pub sign_in_notification: bool,
}

/// The `traces_endpoint` that says that the environment has it.
pub const TRACES_OF_ENVIRONMENT: &str = "environment";

/// When to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh {
    /// How often the IMS is asked for its list (`refresh_interval`).
    pub interval: Duration,
    /// For how long an upstream has to refuse a role before that counts against a set that is still valid
    /// (`withdrawal_grace`); none: such a set is served to its end.
    pub withdrawal_grace: Option<Duration>,
}
