//! `AssumeRoleWithWebIdentity`: a token of an OpenID Connect issuer (Kubernetes, SPIFFE, a CI runner) for credentials.
//! The call is not signed.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>

pub(super) mod options;

use std::{path::PathBuf, sync::Arc};

use super::{
    Fetch, SourceError, SourceFuture,
    aws::{AnsweredAt, Proof, StsSettings, failure, session},
    file::read_secret,
    sts::Request,
};
use crate::{clock::SharedClock, credentials::Credentials, refresh::note_request_id};
use aws_sdk_sts::{Client as Sts, types::PolicyDescriptorType};
use aws_types::request_id::RequestId;

/// The longest token that STS takes.
const MAX_TOKEN: usize = 20_000;

/// The STS endpoint, and the token that authenticates us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file of the token, which is read for each call.
    pub token_file: PathBuf,
    /// Which STS is asked, and how.
    pub sts: StsSettings,
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
        let Settings { token_file, sts } = settings;
        Self { sts: Sts::from_conf(sts.config().build()), token_file, clock }
    }

    /// The source of one role. The call has no place for an external id, tags and a source identity: the token says who
    /// calls, and its claims give the tags.
    pub fn role(self: &Arc<Self>, request: Request) -> WebIdentityRole {
        WebIdentityRole { identity: Arc::clone(self), request }
    }

    async fn assume(&self, role: &Request) -> Result<Credentials, SourceError> {
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
            .role_arn(role.role_arn.as_str())
            .role_session_name(&role.session_name)
            .web_identity_token(token.expose())
            .set_duration_seconds(seconds)
            .set_policy(role.policy.as_deref().map(str::to_owned))
            .set_policy_arns((!policies.is_empty()).then_some(policies));
        let name = format!("AssumeRoleWithWebIdentity for {}", role.role_arn);
        let proof = Proof::Token(&self.token_file);
        let at = AnsweredAt::default();
        let output = call.customize().interceptor(at.clone()).send().await.map_err(|error| {
            note_request_id(error.request_id());
            failure(&name, proof, &error, self.clock.now().wall)
        })?;
        note_request_id(output.request_id());
        session(&name, &role.role_arn, role.duration, output.credentials).map(|set| at.dated(set))
    }
}

/// The source of one role that is assumed with a token.
pub struct WebIdentityRole {
    identity: Arc<WebIdentity>,
    request: Request,
}

impl Fetch for WebIdentityRole {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(self.identity.assume(&self.request))
    }
}
