//! The interface of an upstream to the refresher: two traits, and their errors.

use std::{collections::HashMap, fmt, future::Future, pin::Pin, time::Duration};

use jiff::Timestamp;

use crate::credentials::{AccountId, Credentials, RoleName};

/// A future of a [`Source`].
pub type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send + 'a>>;

/// An upstream that hands out temporary credentials. Each call is bounded in time and size by the
/// source itself and is never retried inside: when to ask again is for `refresh` to decide.
pub trait Source: Send + Sync + 'static {
    /// Which roles there are now, in the upstream's order. An empty list is returned only by an upstream that is
    /// authoritative; from any other it is reported as a refusal.
    fn roles(&self) -> SourceFuture<'_, RoleList>;

    /// How many sets may be fetched concurrently; at least one is. The list does not count: it must not
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
    /// The accounts of the roles, as far as the upstream says them.
    pub accounts: HashMap<RoleName, AccountId>,
    /// For how long it is fresh, if the upstream states it.
    pub max_age: Option<Duration>,
    /// The upstream's clock at the time of the answer, if it states it.
    pub date: Option<Timestamp>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// What follows from it.
    pub kind: ErrorKind,
    /// One sentence for the log: what was asked, what came instead. Never a secret.
    pub message: String,
    /// How long the upstream wants to be left alone, if it states it. `refresh` decides how far that binds.
    pub again: Option<Duration>,
}

/// What follows from an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// A time-out, a reset, a 5xx, throttling, garbage: says nothing about the role. Keep what is
    /// there and ask again.
    Transient,
    /// The upstream answers that there are no credentials (403, 404, an error document).
    Refused {
        /// The code for the clients, in IMDS words: `AssumeRoleUnauthorizedAccess` and the like.
        code: String,
        /// The upstream's reason, cut and cleaned.
        message: String,
        /// Whether it is beyond doubt, so that a set that is already there must go. Otherwise it may be the upstream's
        /// own trouble, and counts only where there is nothing good to lose.
        withdraws: bool,
    },
    /// The credentials of the parent have expired or are not accepted (`ExpiredToken`): fetch those
    /// again immediately, then repeat the call.
    ParentExpired,
}

impl SourceError {
    /// An error of which the upstream does not say when to ask again.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), again: None }
    }

    /// An error that says nothing about the role.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, message)
    }

    /// A refusal that may be the upstream's own trouble.
    pub fn doubtful(code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let kind = ErrorKind::Refused { code: code.to_owned(), message: message.clone(), withdraws: false };
        Self::new(kind, message)
    }

    /// Whether the upstream refuses beyond doubt.
    pub fn withdraws(&self) -> bool {
        matches!(self.kind, ErrorKind::Refused { withdraws: true, .. })
    }

    /// What several upstreams of the same thing said together. They refuse it only if each of them does: one that is
    /// merely down may still have it. One that does not say when to come back may be asked at any time.
    pub fn together(errors: Vec<Self>) -> Self {
        let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; then ");
        // None is less than any time.
        let again = errors.iter().map(|error| error.again).min().flatten();
        let mut refusals = errors.into_iter().map(|error| match error.kind {
            ErrorKind::Refused { code, message, withdraws } => Some((code, message, withdraws)),
            ErrorKind::Transient | ErrorKind::ParentExpired => None,
        });
        let all = refusals.next().flatten().and_then(|(code, message, first)| {
            let withdraws = refusals.try_fold(first, |all, next| next.map(|(_, _, withdraws)| all && withdraws))?;
            Some(ErrorKind::Refused { code, message, withdraws })
        });
        Self { kind: all.unwrap_or(ErrorKind::Transient), message, again }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}
