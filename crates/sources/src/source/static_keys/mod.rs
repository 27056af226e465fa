//! Fixed keys from the configuration or a file: for bootstrapping, and for tests.

pub(super) mod options;

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;

use super::{Fetch, SourceError, SourceFuture, file::read_secret, long_term::assumed_end};
use crate::{
    clock::SharedClock,
    credentials::{Credentials, Secret, is_key_text},
};

/// Where a secret stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretText {
    /// In the configuration.
    Given(Secret),
    /// In a file, which is read at each use.
    File(PathBuf),
}

/// The keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: SecretText,
    /// With one the keys are temporary; without, they are those of an IAM user.
    pub session_token: Option<SecretText>,
    /// When the keys end, if that is known.
    pub expiration: Option<Timestamp>,
    /// Otherwise they are taken to be good for so long after each reading.
    pub assumed_lifetime: Duration,
}

/// Why there can be no such source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Not a text that AWS would give out.
    #[error("the {0} is empty or has illegal characters")]
    Characters(&'static str),
}

/// A source of the keys.
pub struct StaticKeys {
    settings: Settings,
    clock: SharedClock,
}

impl StaticKeys {
    /// A source that reads the files of `settings` at each use.
    pub fn new(settings: Settings, clock: SharedClock) -> Result<Self, SetupError> {
        let given = |text: &SecretText| match text {
            SecretText::Given(secret) => is_key_text(secret.expose()),
            SecretText::File(_) => true,
        };
        if !is_key_text(&settings.access_key_id) {
            return Err(SetupError::Characters("access key id"));
        }
        if !given(&settings.secret_access_key) {
            return Err(SetupError::Characters("secret access key"));
        }
        if !settings.session_token.as_ref().is_none_or(given) {
            return Err(SetupError::Characters("session token"));
        }
        Ok(Self { settings, clock })
    }

    async fn read(&self) -> Result<Credentials, SourceError> {
        let Settings { access_key_id, secret_access_key, session_token, expiration, assumed_lifetime } = &self.settings;
        let end = || assumed_end(self.clock.now().wall, *assumed_lifetime);
        Ok(Credentials {
            expiration: expiration.unwrap_or_else(end),
            access_key_id: access_key_id.clone(),
            secret_access_key: read("secret access key", secret_access_key).await?,
            session_token: match session_token {
                Some(token) => read("session token", token).await?,
                None => Secret::new(""),
            },
            life: None,
            last_updated: None,
            account_id: None,
            role_arn: None,
        })
    }
}

async fn read(what: &str, text: &SecretText) -> Result<Secret, SourceError> {
    let path = match text {
        SecretText::Given(secret) => return Ok(secret.clone()),
        SecretText::File(path) => path,
    };
    let secret = read_secret(what, path).await?;
    if !is_key_text(secret.expose()) {
        let message = format!("the file of the {what} ({}) has illegal characters", path.display());
        return Err(SourceError::transient(message));
    }
    Ok(secret)
}

impl Fetch for StaticKeys {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(self.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::fake::FakeClock;

    fn settings(secret: SecretText) -> Settings {
        Settings {
            access_key_id: "AKIAEXAMPLE".into(),
            secret_access_key: secret,
            session_token: None,
            expiration: None,
            assumed_lifetime: Duration::from_hours(1),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_is_read_anew_each_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        std::fs::write(&path, "first\n").expect("writable");
        let clock = FakeClock::new();
        let source = StaticKeys::new(settings(SecretText::File(path.clone())), clock.clone()).expect("good settings");
        let first = source.fetch(None).await.expect("keys");
        assert_eq!(first.secret_access_key.expose(), "first");
        assert_eq!(first.session_token.expose(), "");
        std::fs::write(&path, "second\n").expect("writable");
        clock.step_wall(60);
        let second = source.fetch(None).await.expect("keys");
        assert_eq!(second.secret_access_key.expose(), "second");
        assert_eq!(second.expiration, first.expiration + Duration::from_mins(1));
        std::fs::write(&path, "a\"b").expect("writable");
        let error = source.fetch(None).await.expect_err("no key");
        assert!(error.message.ends_with("has illegal characters"), "{error}");
    }

    #[tokio::test]
    async fn a_known_end_is_the_end() {
        let expiration = "2026-11-23T12:00:00Z".parse().ok();
        let token = Some(SecretText::Given(Secret::new("IQoJ")));
        let settings = Settings { expiration, session_token: token, ..settings(SecretText::Given(Secret::new("s"))) };
        let set = StaticKeys::new(settings, FakeClock::new()).expect("good settings").fetch(None).await.expect("keys");
        assert_eq!((Some(set.expiration), set.session_token.expose()), (expiration, "IQoJ"));
    }

    #[test]
    fn what_is_no_key_is_refused_at_once() {
        let bad = |change: fn(&mut Settings)| {
            let mut settings = settings(SecretText::Given(Secret::new("s")));
            change(&mut settings);
            StaticKeys::new(settings, crate::clock::SystemClock::shared()).err().expect("refused").to_string()
        };
        assert!(bad(|s| s.access_key_id = String::new()).contains("access key id"));
        assert!(bad(|s| s.secret_access_key = SecretText::Given(Secret::new("a b"))).contains("secret access key"));
        assert!(bad(|s| s.session_token = Some(SecretText::Given(Secret::new("")))).contains("session token"));
    }
}
