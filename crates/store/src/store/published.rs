//! A set of credentials as it is published: rendered once.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, tz::Offset};

use crate::{
    clock::{BootTime, Moment},
    credentials::{AccountId, Credentials, RoleArn, SecretBytes, document_field, parse_document, render_document},
};

/// A published set: its document, ready to be sent, and its public attributes.
#[derive(Debug)]
pub struct Published {
    /// The public half of the key.
    pub access_key_id: Box<str>,
    /// From this moment on AWS refuses the set, by the wall clock.
    pub expiration: Timestamp,
    /// The same by the boot clock, in milliseconds: when the life is over that it had when it came, by the wall clock or that
    /// of its upstream, whichever left it less. A wall clock that is set back or behind makes no set live longer.
    ends: AtomicU64,
    /// When the set was made, as far as known.
    pub last_updated: Timestamp,
    /// The same as an HTTP date.
    pub last_modified: Box<str>,
    /// The account, as far as the upstream, the role's ARN or the key's id says it.
    pub account_id: Option<AccountId>,
    /// The ARN of the role, where the upstream says it. Boxed: most do not.
    pub role_arn: Option<Box<RoleArn>>,
    document: SecretBytes,
}

impl Published {
    /// Renders the set. `now` stands in where the upstream does not say when it made it.
    pub fn new(credentials: &Credentials, now: Moment) -> Self {
        let last_updated = credentials.last_updated.unwrap_or(now.wall);
        Self {
            access_key_id: credentials.access_key_id.as_str().into(),
            expiration: credentials.expiration,
            ends: AtomicU64::new(end_of(credentials, now)),
            last_updated,
            last_modified: http_date(last_updated).into(),
            account_id: credentials
                .account_id
                .or_else(|| credentials.role_arn.as_ref().map(RoleArn::account))
                .or_else(|| AccountId::of_access_key(&credentials.access_key_id)),
            role_arn: credentials.role_arn.clone().map(Box::new),
            document: render_document(credentials, last_updated),
        }
    }

    /// The same set as another process published it, whose life ends at the instant `ends` of this boot.
    pub fn handed_over(credentials: &Credentials, ends: BootTime, now: Moment) -> Self {
        Self { ends: AtomicU64::new(ends.as_millis()), ..Self::new(credentials, now) }
    }

    /// The instant of the boot clock at which its life is over.
    pub fn ends(&self) -> BootTime {
        BootTime::from_millis(self.ends.load(Ordering::Relaxed))
    }

    /// The credentials in its document. `None` for long-term keys, which have no session token.
    pub fn credentials(&self) -> Option<Credentials> {
        let (account_id, role_arn) = (self.account_id, self.role_arn.as_deref().cloned());
        let credentials = parse_document(self.document.expose()).ok()?;
        Some(Credentials { account_id, role_arn, ..credentials })
    }

    /// Whether it has a session token; long-term keys have none.
    pub fn is_temporary(&self) -> bool {
        document_field(self.document.expose(), "Token").is_some_and(|token| !token.is_empty())
    }

    /// The upstream has given it once more: it has the life that it has now.
    pub fn came_again(&self, credentials: &Credentials, now: Moment) {
        self.ends.store(end_of(credentials, now), Ordering::Relaxed);
    }

    /// How long it is still valid, by the clock that leaves it less; negative if it is over.
    pub fn left(&self, now: Moment) -> SignedDuration {
        let boot = |time: BootTime| SignedDuration::try_from(time.uptime()).unwrap_or(SignedDuration::MAX);
        self.expiration.duration_since(now.wall).min(boot(self.ends()).saturating_sub(boot(now.boot)))
    }

    /// The same for waits: zero if it is over.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.left(now).try_into().unwrap_or(Duration::ZERO)
    }

    /// Whether it is valid by both clocks.
    pub fn is_valid(&self, now: Moment) -> bool {
        self.left(now).is_positive()
    }

    /// Whether its life is not over by the boot clock alone. What a wall clock that is ahead shows as expired is valid again
    /// when that clock is set right.
    pub fn may_live(&self, now: BootTime) -> bool {
        self.ends() > now
    }

    /// The IMDS document. Secret.
    pub fn document(&self) -> &SecretBytes {
        &self.document
    }

    /// Whether `credentials` are this very set, so that publishing them would change nothing.
    pub fn is(&self, credentials: &Credentials) -> bool {
        *self.access_key_id == credentials.access_key_id
            && self.document == render_document(credentials, credentials.last_updated.unwrap_or(self.last_updated))
    }
}

/// When (boot clock, in milliseconds) the life is over that is left at the moment `now`, at which the set came.
fn end_of(credentials: &Credentials, now: Moment) -> u64 {
    (now.boot + credentials.life_from(now.wall)).as_millis()
}

/// Writes a moment as RFC 9110 requires: `Mon, 23 Nov 2026 10:00:00 GMT`.
pub fn http_date(moment: Timestamp) -> String {
    Offset::UTC.to_datetime(moment).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
