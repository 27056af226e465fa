//! `AssumeRole`: the credentials of one role for those of another.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>

mod options;

use std::{sync::Arc, time::Duration};

pub use options::KIND;

use super::{
    Fetch, SourceError, SourceFuture,
    aws::{Proof, SdkTime, StsSettings, failure, session},
};
use crate::{
    clock::SharedClock,
    credentials::{Credentials, RoleArn},
};
use aws_credential_types::Credentials as Signer;
use aws_sdk_sts::{
    Client,
    config::IdentityCache,
    types::{PolicyDescriptorType, Tag},
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The role.
    pub role_arn: RoleArn,
    /// The session's name, legal for STS.
    pub session_name: String,
    /// The external id that the owner of the role requires.
    pub external_id: Option<String>,
    /// The life of the session; an hour without it.
    pub duration: Option<Duration>,
    /// A session policy, JSON.
    pub policy: Option<String>,
    /// ARNs of managed policies as session policies.
    pub policy_arns: Vec<String>,
    /// Session tags.
    pub tags: Vec<(String, String)>,
    /// The keys of those that are handed on along a chain.
    pub transitive_tags: Vec<String>,
    /// The source identity.
    pub source_identity: Option<String>,
}

/// An STS, shared by all roles that are assumed there.
pub struct Sts {
    client: Client,
    clock: SharedClock,
}

impl Sts {
    /// Prepares the calls; nothing is sent yet.
    pub fn new(settings: StsSettings, clock: SharedClock) -> Self {
        let config = settings
            .config()
            .time_source(SdkTime(Arc::clone(&clock)))
            // A wrong clock is reported; our schedule needs a right one anyway.
            .disable_clock_skew_correction(true)
            // Each call is signed with its own credentials.
            .identity_cache(IdentityCache::no_cache());
        Self { client: Client::from_conf(config.build()), clock }
    }

    /// The source of one role.
    pub fn role(self: &Arc<Self>, request: Request) -> AssumeRole {
        AssumeRole { sts: Arc::clone(self), request }
    }
}

/// One role that is assumed.
pub struct AssumeRole {
    sts: Arc<Sts>,
    request: Request,
}

impl AssumeRole {
    async fn assume(&self, signer: &Credentials) -> Result<Credentials, SourceError> {
        let Request { role_arn, duration, policy_arns, tags, transitive_tags, .. } = &self.request;
        let call = format!("AssumeRole of {role_arn}");
        // What can go wrong here is the configuration's fault, which has checked it.
        let impossible = |error: &dyn std::fmt::Display| SourceError::transient(format!("{call}: {error}"));
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags = tags.collect::<Result<Vec<_>, _>>().map_err(|error| impossible(&error))?;
        let policies: Vec<_> = policy_arns.iter().map(|arn| PolicyDescriptorType::builder().arn(arn).build()).collect();
        let seconds = duration.map(|duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
        let output = self
            .sts
            .client
            .assume_role()
            .role_arn(role_arn.as_str())
            .role_session_name(&self.request.session_name)
            .set_external_id(self.request.external_id.clone())
            .set_duration_seconds(seconds)
            .set_policy(self.request.policy.clone())
            .set_policy_arns(some(policies))
            .set_tags(some(tags))
            .set_transitive_tag_keys(some(transitive_tags.clone()))
            .set_source_identity(self.request.source_identity.clone())
            .customize()
            .config_override(aws_sdk_sts::Config::builder().credentials_provider(to_sdk(signer)))
            .send()
            .await
            .map_err(|error| failure(&call, Proof::Signature, &error, self.sts.clock.now().wall))?;
        session(&call, role_arn, output.credentials)
    }
}

/// The SDK sends what is there, and a list without elements is not the same as none.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn to_sdk(signer: &Credentials) -> Signer {
    let token = Some(signer.session_token.expose()).filter(|token| !token.is_empty());
    Signer::new(
        signer.access_key_id.as_str(),
        signer.secret_access_key.expose(),
        token.map(str::to_owned),
        // When it ends is for `refresh` to know and for AWS to say.
        None,
        "alppaca",
    )
}

impl Fetch for AssumeRole {
    fn fetch<'a>(&'a self, parent: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(async move {
            match parent {
                Some(signer) => self.assume(signer).await,
                None => Err(SourceError::transient(format!(
                    "AssumeRole of {}: no credentials sign the call",
                    self.request.role_arn
                ))),
            }
        })
    }
}
