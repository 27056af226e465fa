//! `AssumeRole`: the credentials of one role for those of another.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>

mod options;

use std::{sync::Arc, time::Duration};

use super::{
    Fetch, SourceError, SourceFuture,
    aws::{Proof, SdkTime, StsSettings, failure, is_throttling, session},
};
use crate::{
    clock::SharedClock,
    credentials::{Credentials, RoleArn},
    refresh::note_request_id,
};
use aws_credential_types::Credentials as Signer;
use aws_sdk_sts::{
    Client, Config,
    config::{Builder, IdentityCache},
    types::{PolicyDescriptorType, Tag},
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;

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
    pub policy: Option<Arc<str>>,
    /// ARNs of managed policies as session policies.
    pub policy_arns: Vec<String>,
    /// Session tags.
    pub tags: Vec<(String, String)>,
    /// The keys of those that are handed on along a chain.
    pub transitive_tags: Vec<String>,
    /// The source identity.
    pub source_identity: Option<String>,
}

impl Request {
    /// For a session without any restriction or mark.
    pub fn new(role_arn: RoleArn, session_name: String) -> Self {
        Self {
            role_arn,
            session_name,
            external_id: None,
            duration: None,
            policy: None,
            policy_arns: Vec::new(),
            tags: Vec::new(),
            transitive_tags: Vec::new(),
            source_identity: None,
        }
    }
}

/// An STS, shared by all roles that are assumed there.
pub struct Sts {
    client: Client,
    clock: SharedClock,
}

/// What a call brought, and the id by which AWS knows the call: CloudTrail has it, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered<T> {
    /// What was asked for.
    pub value: T,
    /// `x-amzn-RequestId`.
    pub request_id: Option<String>,
}

/// Why a call brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// What follows from it.
    #[source]
    pub error: SourceError,
    /// The status of the answer, if there is one.
    pub status: Option<u16>,
    /// AWS's word for it, if AWS answered.
    pub code: Option<String>,
    /// Whether AWS says that it gets too many calls.
    pub throttled: bool,
    /// `x-amzn-RequestId`.
    pub request_id: Option<String>,
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        Self { error, status: None, code: None, throttled: false, request_id: None }
    }
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

    /// Assumes a role with the credentials of `signer`.
    pub async fn assume(&self, request: &Request, signer: &Credentials) -> Result<Answered<Credentials>, Failed> {
        let Request { role_arn, duration, policy_arns, tags, transitive_tags, .. } = request;
        let call = format!("AssumeRole of {role_arn}");
        // What can go wrong here is the configuration's fault, which has checked it.
        let impossible = |error: &dyn std::fmt::Display| SourceError::transient(format!("{call}: {error}"));
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags = tags.collect::<Result<Vec<_>, _>>().map_err(|error| impossible(&error))?;
        let policies: Vec<_> = policy_arns.iter().map(|arn| PolicyDescriptorType::builder().arn(arn).build()).collect();
        let seconds = duration.map(|duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
        let output = self
            .client
            .assume_role()
            .role_arn(role_arn.as_str())
            .role_session_name(&request.session_name)
            .set_external_id(request.external_id.clone())
            .set_duration_seconds(seconds)
            .set_policy(request.policy.as_deref().map(str::to_owned))
            .set_policy_arns(some(policies))
            .set_tags(some(tags))
            .set_transitive_tag_keys(some(transitive_tags.clone()))
            .set_source_identity(request.source_identity.clone())
            .customize()
            .config_override(signed_by(signer))
            .send()
            .await
            .map_err(|error| self.failed(&call, &error))?;
        let request_id = output.request_id().map(str::to_owned);
        match session(&call, role_arn, *duration, output.credentials) {
            Ok(value) => Ok(Answered { value, request_id }),
            Err(error) => Err(Failed { request_id, ..error.into() }),
        }
    }

    /// The ARN of the user or of the role's session to which the credentials of `signer` belong. Needs no permission.
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>
    pub async fn caller_identity(&self, signer: &Credentials) -> Result<Answered<String>, Failed> {
        let call = "GetCallerIdentity";
        let config = signed_by(signer);
        let sent = self.client.get_caller_identity().customize().config_override(config).send().await;
        let output = sent.map_err(|error| self.failed(call, &error))?;
        let request_id = output.request_id().map(str::to_owned);
        match output.arn {
            Some(value) => Ok(Answered { value, request_id }),
            None => {
                let error = SourceError::transient(format!("{call}: the answer has no ARN"));
                Err(Failed { request_id, ..error.into() })
            }
        }
    }

    fn failed<E>(&self, call: &str, error: &SdkError<E, HttpResponse>) -> Failed
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code).map(str::to_owned);
        Failed {
            error: failure(call, Proof::Signature, error, self.clock.now().wall),
            throttled: code.as_deref().is_some_and(is_throttling),
            status: error.raw_response().map(|response| response.status().as_u16()),
            code,
            request_id: error.request_id().map(str::to_owned),
        }
    }
}

/// One role that is assumed.
pub struct AssumeRole {
    sts: Arc<Sts>,
    request: Request,
}

fn signed_by(signer: &Credentials) -> Builder {
    Config::builder().credentials_provider(to_sdk(signer))
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
                Some(signer) => match self.sts.assume(&self.request, signer).await {
                    Ok(answered) => {
                        note_request_id(answered.request_id.as_deref());
                        Ok(answered.value)
                    }
                    Err(failed) => {
                        note_request_id(failed.request_id.as_deref());
                        Err(failed.error)
                    }
                },
                None => Err(SourceError::transient(format!(
                    "AssumeRole of {}: no credentials sign the call",
                    self.request.role_arn
                ))),
            }
        })
    }
}
