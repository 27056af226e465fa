//! Keys without a session token: IAM users' long-term keys. They may sign calls to STS; clients do not get them unless
//! the configuration allows it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{ErrorKind, Fetch, SourceError, SourceFuture};
use crate::{
    credentials::Credentials,
    settings::{Node, Problem, Setting, read},
};

/// The assumed lifetime of a set without an end, unless configured.
///
/// It is a promise that can be kept: the set is asked for again long before, and clients ask again before that
/// moment too. Whether it works that long is unknown; the owner of a long-term key may delete it at any time.
pub const ASSUMED_LIFETIME: Duration = Duration::from_hours(1);

/// `lifetime`, wherever a set may come without an end.
pub(super) const LIFETIME: Setting = Setting::nested(
    "lifetime",
    "1h",
    "How long credentials without an expiration are assumed to be valid. New ones are fetched long before.",
);

/// `serve_long_term`, wherever a set may come without a session token.
pub(super) const SERVE_LONG_TERM: Setting = Setting::nested(
    "serve_long_term",
    "false",
    "Whether clients get keys without a session token: those of an IAM user, which never expire. Such keys may \
     always assume roles.",
);

/// At least a minute: it is fetched anew after a part of it.
pub(super) fn lifetime(node: &Node) -> Result<Duration, Problem> {
    let duration = read::duration(node)?;
    if duration >= Duration::from_mins(1) {
        return Ok(duration);
    }
    Err(Problem::new(node.place.clone(), "a time of at least 1m is expected here"))
}

/// The assumed end of a set that states none.
pub(super) fn assumed_end(now: Timestamp, lifetime: Duration) -> Timestamp {
    // Beyond the end of the calendar is as good as its end.
    now.checked_add(lifetime).unwrap_or(Timestamp::MAX)
}

/// Whether the set is a long-term key.
pub fn is_long_term(credentials: &Credentials) -> bool {
    credentials.session_token.expose().is_empty()
}

/// A source whose sets go to clients, and which therefore refuses long-term keys.
pub struct TemporaryOnly(Arc<dyn Fetch>);

impl TemporaryOnly {
    /// Passes on what `inner` gets, unless it is a long-term key.
    pub fn new(inner: Arc<dyn Fetch>) -> Self {
        Self(inner)
    }
}

impl Fetch for TemporaryOnly {
    fn fetch<'a>(&'a self, parent: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(async move {
            let credentials = self.0.fetch(parent).await?;
            if is_long_term(&credentials) {
                return Err(refuse(&credentials.access_key_id));
            }
            Ok(credentials)
        })
    }
}

fn refuse(access_key_id: &str) -> SourceError {
    let message = format!(
        "{access_key_id} is a long-term key (there is no session token), which clients do not get; assume a \
         role with it (role_arn), or say serve_long_term: true in its source"
    );
    // Garbage for the clients: a good set that is there stays.
    let kind = ErrorKind::Refused { code: "LongTermKey".to_owned(), message: message.clone(), withdraws: false };
    SourceError::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Secret;

    struct Fixed(&'static str);

    impl Fetch for Fixed {
        fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
            let credentials = Credentials {
                access_key_id: "AKIAEXAMPLE".into(),
                secret_access_key: Secret::new("wJalr"),
                session_token: Secret::new(self.0),
                expiration: Timestamp::MAX,
                life: None,
                last_updated: None,
                account_id: None,
                role_arn: None,
            };
            Box::pin(async move { Ok(credentials) })
        }
    }

    #[tokio::test]
    async fn only_sets_with_a_session_token_pass() {
        let fetch = |token| async move { TemporaryOnly::new(Arc::new(Fixed(token))).fetch(None).await };
        assert!(fetch("IQoJ").await.is_ok());
        let error = fetch("").await.expect_err("a long-term key");
        assert!(matches!(error.kind, ErrorKind::Refused { withdraws: false, .. }), "{error:?}");
        assert!(error.message.starts_with("AKIAEXAMPLE is a long-term key"), "{error}");
    }

    #[test]
    fn an_assumed_end_never_leaves_the_calendar() {
        assert_eq!(assumed_end(Timestamp::UNIX_EPOCH, Duration::from_secs(7)).as_second(), 7);
        assert_eq!(assumed_end(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
    }
}
