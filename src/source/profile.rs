//! A profile of `~/.aws/config` and `~/.aws/credentials`, as the AWS SDK reads them: keys, `role_arn` with
//! `source_profile`, `credential_process`, web identity, and the cache of an SSO login.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>

mod files;

use std::{collections::HashMap, path::PathBuf, time::Duration};

use aws_config::{BehaviorVersion, ConfigLoader, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_types::os_shim_internal::Env;
use jiff::Timestamp;

pub use files::at_home;
use files::{File, Kind};

use super::{Fetch, SourceError, SourceFuture, aws::sdk_client, long_term::assumed_end};
use crate::{
    clock::SharedClock,
    credentials::{Credentials, Secret, is_key_text},
    fetch::Options,
    text::{flatten, printable, redact},
};

/// The profile and where it is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name; `default` is the one without a name.
    pub profile: String,
    /// The directory in which `.aws` is: for the two files, unless they are given, and for the cache of SSO logins.
    pub home: PathBuf,
    /// In place of `~/.aws/config`.
    pub config_file: Option<PathBuf>,
    /// In place of `~/.aws/credentials`.
    pub credentials_file: Option<PathBuf>,
    /// The region of the calls, where the profile names none.
    pub region: String,
    /// What is said elsewhere of the endpoints of these calls, as variables of the SDKs. It goes before the profile.
    pub endpoints: Vec<(&'static str, String)>,
    /// Time-outs, CA and proxy of the calls that the profile needs.
    pub http: Options,
    /// How long a set is taken to be good that comes without an end.
    pub assumed_lifetime: Duration,
}

/// A source of the credentials of a profile.
pub struct Profile {
    settings: Settings,
    clock: SharedClock,
}

impl Profile {
    /// A source that reads the files of `settings` at each use.
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        Self { settings, clock }
    }

    /// The environment that the SDK sees: nothing of ours. The metadata services are off: we are those.
    fn environment(&self) -> Env {
        let Settings { profile, home, endpoints, .. } = &self.settings;
        let own = [
            ("HOME", home.to_string_lossy().into_owned()),
            ("AWS_PROFILE", files::plain(profile)),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        let all = own.into_iter().chain(endpoints.iter().cloned());
        Env::from(all.map(|(name, value)| (name.to_owned(), value)).collect::<HashMap<_, _>>())
    }

    /// The two files, checked and in the form that the SDK takes.
    async fn files(&self) -> Result<EnvConfigFiles, String> {
        let Settings { profile, home, config_file, credentials_file, .. } = &self.settings;
        let file = |kind, given: &Option<PathBuf>, usual: &str| File {
            kind,
            path: given.clone().unwrap_or_else(|| home.join(usual)),
            named: given.is_some(),
        };
        let config = files::read(&file(Kind::Config, config_file, ".aws/config")).await?;
        let credentials = files::read(&file(Kind::Credentials, credentials_file, ".aws/credentials")).await?;
        let read = [config, credentials];
        files::check(&read, profile)?;
        let [config, credentials] = read.map(|file| file.render(home));
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, config.as_str());
        Ok(files.with_contents(EnvConfigFileKind::Credentials, credentials.as_str()).build())
    }

    fn loader(&self, files: EnvConfigFiles) -> ConfigLoader {
        aws_config::defaults(BehaviorVersion::latest())
            .env(self.environment())
            .profile_files(files)
            .http_client(sdk_client(self.settings.http.clone()))
            // Both are ours: when to ask again is for `refresh` to decide.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
    }

    /// The SDK keeps what it has read of the files, so it is set up anew each time.
    async fn load(&self) -> Result<Credentials, SourceError> {
        let Settings { profile, region, http, .. } = &self.settings;
        let begin = format!("the profile {profile}");
        // Inside there may be several calls, each with its own time-out.
        let timeout = http.timeout * 3;
        let files = self.files().await.map_err(|error| SourceError::transient(format!("{begin}: {error}")))?;
        let loading = async {
            let config = self.loader(files.clone()).load().await;
            let config = match config.region() {
                Some(_) => config,
                // A profile that names no region still has to call STS somewhere.
                None => self.loader(files).region(Region::new(region.clone())).load().await,
            };
            match config.credentials_provider() {
                Some(provider) => provider.provide_credentials().await,
                None => Err(CredentialsError::not_loaded("the SDK has no provider")),
            }
        };
        let set = tokio::time::timeout(timeout, loading)
            .await
            .map_err(|_| SourceError::transient(format!("{begin}: no credentials within {timeout:?}")))?
            .map_err(|error| SourceError::transient(format!("{begin}: {}", explain(&error))))?;
        let wrong = |what: &str| SourceError::transient(format!("{begin}: {what}"));
        let token = set.session_token().unwrap_or_default();
        if ![set.access_key_id(), set.secret_access_key()].into_iter().all(is_key_text)
            || !(token.is_empty() || is_key_text(token))
        {
            return Err(wrong("the credentials have characters that no key has, or none"));
        }
        let expiration = match set.expiry() {
            Some(end) => Timestamp::try_from(end).map_err(|_| wrong("the end is no moment"))?,
            None => assumed_end(self.clock.now().wall, self.settings.assumed_lifetime),
        };
        Ok(Credentials {
            access_key_id: set.access_key_id().to_owned(),
            secret_access_key: Secret::new(set.secret_access_key()),
            session_token: Secret::new(token),
            expiration,
            last_updated: None,
            account_id: set.account_id().and_then(|id| id.as_str().parse().ok()),
            role_arn: None,
        })
    }
}

/// What the SDK says, without repetitions. It never quotes keys; what a program writes to stderr it may.
fn explain(error: &CredentialsError) -> String {
    let text = printable(&redact(&flatten(error)), 400);
    let told = match error {
        CredentialsError::CredentialsNotLoaded(_) => "it has no credentials",
        CredentialsError::InvalidConfiguration(_) => "the files are wrong",
        _ => "no credentials",
    };
    format!("{told}: {text}")
}

impl Fetch for Profile {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(self.load())
    }
}
