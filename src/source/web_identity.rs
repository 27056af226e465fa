//! `AssumeRoleWithWebIdentity`: a token of an OpenID Connect issuer (Kubernetes, SPIFFE, a CI runner) for credentials.
//! The call is not signed.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    Fetch, SourceError, SourceFuture,
    aws::{Proof, failure, sdk_client, session},
    file::read_secret,
};
use crate::{clock::SharedClock, credentials::Credentials, fetch::Options};
use aws_sdk_sts::{
    Client as Sts,
    config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig},
    types::PolicyDescriptorType,
};

/// The longest token that STS takes.
const MAX_TOKEN: usize = 20_000;

/// Where STS is, and who we are to it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file of the token, which is read anew for each call.
    pub token_file: PathBuf,
    /// The region whose endpoint is asked.
    pub region: String,
    /// Another endpoint.
    pub endpoint: Option<String>,
    /// The FIPS endpoint.
    pub fips: bool,
    /// The endpoint with IPv4 and IPv6.
    pub dual_stack: bool,
    /// Time-outs, CA and proxy.
    pub http: Options,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSettings {
    /// The role.
    pub role_arn: String,
    /// The session's name, legal for STS.
    pub session_name: String,
    /// The life of the session; an hour without it.
    pub duration: Option<Duration>,
    /// A session policy, JSON.
    pub policy: Option<String>,
    /// ARNs of managed policies as session policies.
    pub policy_arns: Vec<String>,
}

/// An STS, shared by all roles that are assumed with one token.
pub struct WebIdentity {
    sts: Sts,
    token_file: PathBuf,
    clock: SharedClock,
}

impl WebIdentity {
    /// Prepares the calls; nothing is sent yet.
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region))
            .use_fips(settings.fips)
            .use_dual_stack(settings.dual_stack)
            .http_client(sdk_client(settings.http))
            // Both are ours: when to ask again is for `refresh` to decide.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled());
        config.set_endpoint_url(settings.endpoint);
        Self { sts: Sts::from_conf(config.build()), token_file: settings.token_file, clock }
    }

    /// The source of one role.
    pub fn role(self: &Arc<Self>, settings: RoleSettings) -> WebIdentityRole {
        WebIdentityRole { identity: Arc::clone(self), settings }
    }

    async fn assume(&self, role: &RoleSettings) -> Result<Credentials, SourceError> {
        let token = read_secret("web identity token", &self.token_file).await?;
        let length = token.expose().len();
        if !(4..=MAX_TOKEN).contains(&length) {
            let path = self.token_file.display();
            let message = format!("the token in {path} has {length} characters, and STS takes 4 to {MAX_TOKEN}");
            return Err(SourceError::transient(message));
        }
        let seconds = role.duration.map(|duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
        let policies = role.policy_arns.iter().map(|arn| PolicyDescriptorType::builder().arn(arn).build());
        let policies: Vec<_> = policies.collect();
        let call = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&role.role_arn)
            .role_session_name(&role.session_name)
            .web_identity_token(token.expose())
            .set_duration_seconds(seconds)
            .set_policy(role.policy.clone())
            .set_policy_arns((!policies.is_empty()).then_some(policies));
        let name = format!("AssumeRoleWithWebIdentity for {}", role.role_arn);
        let proof = Proof::Token(&self.token_file);
        let output = call.send().await.map_err(|error| failure(&name, proof, &error, self.clock.now().wall))?;
        session(&name, &role.role_arn, output.credentials, output.assumed_role_user)
    }
}

/// The source of one role that is assumed with a token.
pub struct WebIdentityRole {
    identity: Arc<WebIdentity>,
    settings: RoleSettings,
}

impl Fetch for WebIdentityRole {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(self.identity.assume(&self.settings))
    }
}
