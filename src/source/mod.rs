//! Where credentials come from: one trait, one file (or folder) per kind of upstream.

pub mod aws;
mod file;
pub mod imds;
pub mod ims;
pub mod listed;
pub mod long_term;
mod pass_on;
pub mod process;
pub mod profile;
pub mod roles_anywhere;
pub mod standby;
pub mod static_keys;
pub mod sts;
pub mod vault;
pub mod way_back;
pub mod web_identity;

pub use file::readable_by_others;

use std::{fmt, future::Future, pin::Pin};

pub use pass_on::PassOn;

use crate::{
    credentials::{Credentials, RoleName},
    fetch::FetchError,
};

/// A future of a [`Source`].
pub type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send + 'a>>;

/// An upstream that hands out temporary credentials. Each call is bounded in time and size by the
/// source itself and is never retried inside: when to ask again is for `refresh` to decide.
pub trait Source: Send + Sync + 'static {
    /// Which roles there are now, in the upstream's order.
    fn roles(&self) -> SourceFuture<'_, RoleList>;

    /// How many sets may be fetched at once; at least one is. The list does not count: it must not
    /// queue behind a thousand sets.
    fn concurrency(&self) -> usize;

    /// A set for `role`. The set may have any expiration, also a past one: the caller judges.
    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials>;
}

/// One way to get one set of credentials: a call to an upstream, bounded in time and size, never retried inside. The
/// upstreams that do not list roles are of this kind.
pub trait Fetch: Send + Sync + 'static {
    /// A set, got with the credentials of the `parent` where the call has to be signed.
    fn fetch<'a>(&'a self, parent: Option<&'a Credentials>) -> SourceFuture<'a, Credentials>;
}

/// The upstream's answer to "which roles?".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoleList {
    /// The names, without repetition, in the upstream's order.
    pub names: Vec<RoleName>,
    /// One sentence for each line that was not a role name. If there is any, the list may add
    /// roles, but nothing is withdrawn on its word.
    pub problems: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// What follows from it.
    pub kind: ErrorKind,
    /// One sentence for the log: what was asked, what came instead. Never a secret.
    pub message: String,
}

/// What follows from an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// A time-out, a reset, a 5xx, throttling, garbage: says nothing about the role. Keep what is
    /// there and ask again.
    Transient,
    /// The upstream has spoken (403, 404, an error document): there are no credentials.
    Refused {
        /// The code for the clients, in IMDS words: `AssumeRoleUnauthorizedAccess` and the like.
        code: String,
        /// The upstream's reason, cut and cleaned.
        message: String,
        /// Whether a set that is already there must go. False for a 200 with an error document:
        /// it is no better than garbage while a good set is held.
        withdraws: bool,
    },
    /// The credentials of the parent are over or not accepted (`ExpiredToken`): fetch those anew at
    /// once, then ask again.
    ParentExpired,
}

impl SourceError {
    /// An error that says nothing about the role.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Transient, message: message.into() }
    }
}

/// Without an answer nothing has been said.
impl From<FetchError> for SourceError {
    fn from(error: FetchError) -> Self {
        Self::transient(error.0)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}
