//! A profile of `~/.aws/config` and `~/.aws/credentials`, as the AWS SDK reads them: keys, `role_arn` with
//! `source_profile`, web identity, and the cache of an SSO login. A `credential_process` is run as a program of ours is, and
//! the cache of an `aws login` is used here.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>

mod chain;
mod files;
mod login;
pub(super) mod options;
mod shared;
mod sso;
mod sso_session;

use std::{
    collections::HashMap,
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_config::{BehaviorVersion, ConfigLoader, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_types::os_shim_internal::{Env, Fs};
use jiff::Timestamp;
use zeroize::Zeroizing;

use chain::{Base, Chain};
pub use files::at_home;
use files::{File, Kind, Read};
pub(in crate::source) use sso_session::SsoSession;

use super::{
    Fetch, SourceError, SourceFuture, aws::sdk_client, file::read_secret, long_term::assumed_end, process,
    process::Process,
};
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
    /// Replaces `~/.aws/config`.
    pub config_file: Option<PathBuf>,
    /// Replaces `~/.aws/credentials`.
    pub credentials_file: Option<PathBuf>,
    /// The region of the calls, where the profile names none.
    pub region: String,
    /// The endpoints of these calls that are configured elsewhere, as variables of the SDKs. They take precedence over
    /// the profile.
    pub endpoints: Vec<(&'static str, String)>,
    /// What runs a `credential_process` in a session of its own, as for [`process::Program`].
    pub launcher: Vec<String>,
    /// The whole environment of a `credential_process`.
    pub environment: Vec<(String, String)>,
    /// Time-outs, CA and proxy of the calls that the profile needs.
    pub http: Options,
    /// How long a set is taken to be good that comes without an end.
    pub assumed_lifetime: Duration,
}

/// A source of the credentials of a profile.
pub struct Profile {
    settings: Settings,
    login: login::Login,
    clock: SharedClock,
}

impl Profile {
    /// A source that reads the files of `settings` at each use.
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        Self { settings, login: login::Login::new(clock.clone()), clock }
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

    /// The two files, in the order in which the later one counts.
    async fn files(&self) -> Result<[Read; 2], String> {
        let Settings { home, config_file, credentials_file, .. } = &self.settings;
        let file = |kind, given: &Option<PathBuf>, usual: &str| File {
            kind,
            path: given.clone().unwrap_or_else(|| home.join(usual)),
            named: given.is_some(),
        };
        let config = files::read(&file(Kind::Config, config_file, ".aws/config")).await?;
        let credentials = files::read(&file(Kind::Credentials, credentials_file, ".aws/credentials")).await?;
        Ok([config, credentials])
    }

    /// The files in the form that the SDK takes. The profile at the end of the chain has the credentials that are `known`.
    fn render(&self, files: &[Read; 2], chain: &Chain, known: Option<&Credentials>) -> EnvConfigFiles {
        let without = known.map(|_| chain.profile.as_str());
        let [config, mut credentials] = files.each_ref().map(|file| file.render(&self.settings.home, without));
        if let Some(set) = known {
            credentials.push_str(&keys(&chain.profile, set));
        }
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, config.as_str());
        files.with_contents(EnvConfigFileKind::Credentials, credentials.as_str()).build()
    }

    /// What the profile at the end of the chain gives, if it is not for the SDK to find out.
    async fn base(&self, files: &[Read; 2], chain: &Chain) -> Result<Option<Credentials>, String> {
        match &chain.base {
            Base::Sdk | Base::WebIdentity(_) | Base::Sso(_) => Ok(None),
            Base::Login(session) => {
                let Settings { profile, home, region, endpoints, http, .. } = &self.settings;
                let said = chain::calls(files, profile, "signin");
                let own = |name| endpoints.iter().find_map(|(key, value)| (*key == name).then_some(value.as_str()));
                let session = login::Session {
                    name: session,
                    profile: &chain.profile,
                    region: said.region.unwrap_or(region),
                    endpoint: own("AWS_ENDPOINT_URL").or(said.endpoint),
                    fips: own("AWS_USE_FIPS_ENDPOINT").map_or(said.fips, |flag| flag == "true"),
                };
                self.login.get(home, &session, http).await.map(Some)
            }
            Base::Process { place, command, account } => {
                let set = self.run(command).await.map_err(|what| format!("{place}: the credential_process: {what}"))?;
                let account_id = set.account_id.or_else(|| account.as_deref()?.parse().ok());
                Ok(Some(Credentials { account_id, ..set }))
            }
        }
    }

    /// Runs a `credential_process`, which the SDKs hand to a shell.
    async fn run(&self, command: &str) -> Result<Credentials, String> {
        let Settings { launcher, environment, assumed_lifetime, .. } = &self.settings;
        let program = process::Program {
            command: ["/bin/sh", "-c", command].map(str::to_owned).to_vec(),
            launcher: launcher.clone(),
            timeout: self.timeout(),
            environment: environment.clone(),
            facts: Vec::new(),
        };
        let settings = process::Settings { program, assumed_lifetime: *assumed_lifetime };
        let process = Process::new(settings, self.clock.clone()).map_err(|error| error.to_string())?;
        process.run().await
    }

    /// Inside there may be several calls, each with its own time-out.
    fn timeout(&self) -> Duration {
        self.settings.http.timeout * 3
    }

    fn loader(&self, files: EnvConfigFiles, fs: Fs) -> ConfigLoader {
        aws_config::defaults(BehaviorVersion::latest())
            .env(self.environment())
            .fs(fs)
            .profile_files(files)
            .http_client(sdk_client(self.settings.http.clone()))
            // Both are ours: when to ask again is for `refresh` to decide.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
    }

    /// Everything is read at each use.
    async fn load(&self) -> Result<Credentials, String> {
        let files = self.files().await?;
        let chain = chain::follow(&files, &self.settings.profile, &self.settings.home)?;
        let known = self.base(&files, &chain).await?;
        let files = match known {
            Some(set) if !chain.roles => return Ok(set),
            known => self.render(&files, &chain, known.as_ref()),
        };
        match &chain.base {
            Base::WebIdentity(token) => self.ask(files, only_token(token).await?).await,
            Base::Sso(session) => {
                let lent = sso::Lent::new(&self.settings.home, session, &chain.profile)?;
                let set = self.ask(files, lent.fs.clone()).await;
                lent.take_back().await;
                set
            }
            Base::Sdk | Base::Process { .. } | Base::Login(_) => self.ask(files, Fs::real()).await,
        }
    }

    /// What the SDK gets with these files. It caches what it has read of them, so it is set up again each time.
    async fn ask(&self, files: EnvConfigFiles, fs: Fs) -> Result<Credentials, String> {
        let loading = async {
            let config = self.loader(files.clone(), fs.clone()).load().await;
            let config = match config.region() {
                Some(_) => config,
                // A profile that names no region still has to call STS somewhere.
                None => self.loader(files, fs).region(Region::new(self.settings.region.clone())).load().await,
            };
            match config.credentials_provider() {
                Some(provider) => provider.provide_credentials().await,
                None => Err(CredentialsError::not_loaded("the SDK has no provider")),
            }
        };
        let timeout = self.timeout();
        let set = tokio::time::timeout(timeout, loading)
            .await
            .map_err(|_| format!("no credentials within {timeout:?}"))?
            .map_err(|error| explain(&error))?;
        let token = set.session_token().unwrap_or_default();
        if ![set.access_key_id(), set.secret_access_key()].into_iter().all(is_key_text)
            || !(token.is_empty() || is_key_text(token))
        {
            return Err("the credentials are empty or have illegal characters".to_owned());
        }
        let expiration = match set.expiry() {
            Some(end) => Timestamp::try_from(end).map_err(|_| "the expiration is not a valid time")?,
            None => assumed_end(self.clock.now().wall, self.settings.assumed_lifetime),
        };
        Ok(Credentials {
            access_key_id: set.access_key_id().to_owned(),
            secret_access_key: Secret::new(set.secret_access_key()),
            session_token: Secret::new(token),
            expiration,
            life: None,
            last_updated: None,
            account_id: set.account_id().and_then(|id| id.as_str().parse().ok()),
            role_arn: None,
        })
    }
}

/// For the SDK there is only the token, without the white space around it, which STS would take for a part of it.
async fn only_token(path: &Path) -> Result<Fs, String> {
    let token = read_secret("web identity token", path).await.map_err(|error| error.message)?;
    Ok(Fs::from_raw_map(HashMap::from([(path.into(), token.expose().as_bytes().to_vec())])))
}

/// A section of the credentials file.
fn keys(profile: &str, set: &Credentials) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    // A String takes whatever is written.
    let _ = writeln!(text, "[{}]\naws_access_key_id = {}", files::plain(profile), set.access_key_id);
    let _ = writeln!(text, "aws_secret_access_key = {}", set.secret_access_key.expose());
    if !set.session_token.expose().is_empty() {
        let _ = writeln!(text, "aws_session_token = {}", set.session_token.expose());
    }
    text
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
        Box::pin(async {
            let profile = &self.settings.profile;
            self.load().await.map_err(|what| SourceError::transient(format!("the profile {profile}: {what}")))
        })
    }
}
