//! The configuration: a YAML file, or a directory of them, made into a typed, validated [`Config`].
//! The keys of the 2015 tool are translated here and nowhere else.

mod addresses;
mod admin;
mod build;
mod container;
mod containers;
mod load;
mod metadata;
mod pod_identity;
mod policy;
mod render;
mod restart;
mod roles;
mod settings;
mod sources;
mod upstreams;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub use alppaca_settings::{
    ConfigErrors, Problem, Section, Setting, TakesEffect, Topic,
    read::{parse_duration, render_duration},
};

pub use admin::Admin;
pub use container::{CONTAINER, CONTAINER_ROLE, Container, ContainerRole};
pub use containers::{CONTAINERS, Containers};
pub use load::{Loaded, load, parse};
pub use metadata::{Defaults, METADATA, Metadata, Tree};
pub use pod_identity::{ASSOCIATION, POD_IDENTITY, PodIdentity};
pub use policy::{MATCH, POLICY, RULE};
pub use roles::{CHAINED, Origin, Role, is_assumed, origin};
pub use settings::{SECTIONS, SETTINGS, effect, restart_keys};
pub use sources::Source;
pub use upstreams::Upstreams;

use crate::{
    logging::{AuditTarget, Logging},
    policy::Rules,
    sandbox::Account,
};

/// Where the daemon listens unless it is told otherwise, and where the shipped socket unit listens.
pub const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 25772);
/// Where redirected connections arrive by default.
pub const DEFAULT_CAPTURE: ([u8; 4], u16) = ([127, 0, 0, 1], 25774);

/// AWS's IPv6 addresses on a host: of the IMDS, and of the EKS Pod Identity agent.
const EC2_V6: [std::net::Ipv6Addr; 2] = [
    std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
];

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
    /// The IMDS face.
    pub imds: Imds,
    /// What the IMDS face says beside credentials (`metadata`).
    pub metadata: Metadata,
    /// The container face, if it is wanted (`container`).
    pub container: Option<Container>,
    /// The face of the EKS Pod Identity agent, if it is wanted (`pod_identity`).
    pub pod_identity: Option<PodIdentity>,
    /// Who gets which role; without it everybody gets all (`policy`).
    pub policy: Option<Rules>,
    /// Where hand-outs and denials are recorded (`audit_log`).
    pub audit_log: Option<AuditTarget>,
    /// Whether nothing is handed out that cannot be recorded (`audit_required`).
    pub audit_required: bool,
    /// Which roles containers get (`containers`); without it nobody asks whether there are any.
    pub containers: Option<Containers>,
    /// Bounds of the HTTP server.
    pub limits: Limits,
    /// When to fetch.
    pub refresh: Refresh,
    /// Where the log goes and what it looks like.
    pub logging: Logging,
    /// Whom to become after binding.
    pub account: Account,
    /// Longest wait for the first successful fetch before readiness is told anyway (`ready_wait`).
    pub ready_wait: Duration,
    /// Directory of the pid file and the admin socket (`run_dir`).
    pub run_dir: PathBuf,
    /// The socket of `status`, `credentials` and `exec`.
    pub admin: Admin,
}

/// Which roles a listing shows (`list_roles`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListRoles {
    /// The first in the source's order, as EC2 does: many SDKs paste the body into the next path.
    First,
    /// All, one a line, as the 2015 tool did.
    All,
}

/// The IMDS face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imds {
    /// Whether requests without a token are answered (`imds_v1`).
    pub v1: bool,
    /// Which roles a listing shows.
    pub list_roles: ListRoles,
    /// Whether expired credentials are still served, as EC2 does (`serve_expired`).
    pub serve_expired: bool,
    /// Host names, beside IP literals and `localhost`, that a Host header may carry
    /// (`allowed_hosts`). Lower case.
    pub allowed_hosts: Vec<String>,
}

/// Bounds of the HTTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many connections may be open at once (`max_connections`).
    pub connections: usize,
    /// From the first byte of a request to the end of its head (`header_timeout`).
    pub header_timeout: Duration,
    /// For a connection on which no request has begun (`idle_timeout`).
    pub idle_timeout: Duration,
    /// For the client to take the answer (`write_timeout`).
    pub write_timeout: Duration,
}

/// When to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh {
    /// How often the IMS is asked for its list (`refresh_interval`).
    pub interval: Duration,
    /// For how long an upstream has to refuse a role before that counts against a set that is still valid
    /// (`withdrawal_grace`); none: such a set is served to its end.
    pub withdrawal_grace: Option<Duration>,
}
