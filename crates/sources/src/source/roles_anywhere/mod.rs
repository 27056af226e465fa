//! IAM Roles Anywhere: a call that is signed with the key of an X.509 certificate. `docs/source-roles-anywhere.md`.

mod answer;
mod certificate;
mod encrypted;
mod files;
mod identity;
mod key;
pub(super) mod options;
mod settings;
mod signing;
#[cfg(feature = "pkcs11")]
mod token;
mod token_uri;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, uri::PathAndQuery};
use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

pub use answer::parse_session;
pub use identity::{Identity, IdentityError, Summary, check_pair};
pub use settings::{Arns, DURATION, IdentitySettings, Location, Settings, SetupError, check_session_name};
pub use token_uri::{TokenUri, TokenUriError};

use super::{
    Fetch, SourceError, SourceFuture,
    ims::{date, dated},
};
use crate::{
    clock::SharedClock,
    credentials::Credentials,
    fetch::{Call, Client, Options, SetupError as HttpError, parse_url},
};

/// Longest time for a token to sign. A file takes milliseconds.
const SIGNING: Duration = Duration::from_secs(30);

/// Answers are two kilobytes; there is no limit by contract.
const MAX_ANSWER: usize = 256 * 1024;

/// One role, got with the certificate of an [`Identity`]. `Debug` shows the role's ARN and nothing else.
pub struct RolesAnywhere {
    settings: Settings,
    /// As in the `Host` header.
    host: String,
    url: String,
    body: Vec<u8>,
    client: Client,
    identity: Arc<Identity>,
    clock: SharedClock,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<u64>,
    profile_arn: &'a str,
    role_arn: &'a str,
    trust_anchor_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_session_name: Option<&'a str>,
}

impl RolesAnywhere {
    /// Checks the settings and prepares the connections; no certificate is read and nothing is sent yet.
    pub fn new(
        settings: Settings,
        identity: Arc<Identity>,
        http: &Options,
        clock: SharedClock,
    ) -> Result<Self, SetupError> {
        settings.check()?;
        let endpoint = parse_url("IAM Roles Anywhere endpoint", settings.endpoint.trim_end_matches('/'))?;
        let Some(host) = endpoint.authority().filter(|_| endpoint.path_and_query().is_none_or(is_root)) else {
            let problem = "must have no path: the path is always /sessions".to_owned();
            return Err(HttpError::Url { whose: "IAM Roles Anywhere endpoint", problem }.into());
        };
        let usual_port = if endpoint.scheme_str() == Some("https") { ":443" } else { ":80" };
        let body = Body {
            duration_seconds: settings.duration.map(|duration| duration.as_secs()),
            profile_arn: &settings.profile_arn,
            role_arn: settings.role_arn.as_str(),
            trust_anchor_arn: &settings.trust_anchor_arn,
            role_session_name: settings.session_name.as_deref(),
        };
        Ok(Self {
            host: host.as_str().trim_end_matches(usual_port).to_owned(),
            url: format!("{}{}", settings.endpoint.trim_end_matches('/'), signing::PATH),
            body: serde_json::to_vec(&body).map_err(|error| SetupError::Body(error.to_string()))?,
            client: Client::new(&endpoint, http)?,
            settings,
            identity,
            clock,
        })
    }

    async fn call(&self) -> Result<Credentials, SourceError> {
        let now = self.clock.now().wall;
        let mut call = Call::new(Method::POST, &self.url).json(Zeroizing::new(self.body.clone()));
        for (name, value) in self.authorize(now).await? {
            let value = HeaderValue::try_from(value)
                .map_err(|_| SourceError::transient(format!("POST {}: the header {name} cannot be sent", self.url)))?;
            call = call.header(HeaderName::from_static(name), value);
        }
        let answer = self.client.send(call, MAX_ANSWER).await?;
        if !answer.status.is_success() {
            let detail = answer.detail();
            return Err(answer::refusal(
                &self.url,
                answer.status,
                &answer.headers,
                &answer.body,
                &detail,
                self.clock.now().wall,
            ));
        }
        let set = parse_session(&answer.body)
            .map_err(|error| SourceError::transient(format!("POST {}: {error}", self.url)))?;
        Ok(dated(set, date(&answer.headers)))
    }

    /// The headers of a signed request. Files and tokens are slow, so it is done on a thread of its own; one at a time, so
    /// that a token that hangs holds up one thread and not one more at each attempt.
    async fn authorize(&self, now: Timestamp) -> Result<Vec<(&'static str, String)>, SourceError> {
        let (identity, host, region) = (Arc::clone(&self.identity), self.host.clone(), self.settings.region.clone());
        let body = self.body.clone();
        let signing = async {
            let turn = self.identity.turn().await;
            let work = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let pair = identity.current(now)?;
                let (certificate, chain) = (&pair.certificate, pair.chain.as_slice());
                let request =
                    signing::Request { host: &host, region: &region, body: &body, time: now, certificate, chain };
                let unsigned = request.prepare();
                let signature = identity.sign_with(&pair, unsigned.string_to_sign.as_bytes())?;
                Ok::<_, IdentityError>(unsigned.signed(&signature))
            });
            work.await
        };
        match tokio::time::timeout(SIGNING, signing).await {
            Ok(Ok(signed)) => signed.map_err(|error| SourceError::transient(error.to_string())),
            // A defect of ours: there is nothing sane to go on with.
            Ok(Err(defect)) if defect.is_panic() => std::panic::resume_unwind(defect.into_panic()),
            Ok(Err(_)) => Err(SourceError::transient("the daemon is stopping")),
            Err(_) => Err(SourceError::transient(format!(
                "no signature within {SIGNING:?}: {} hangs",
                self.identity.key_place()
            ))),
        }
    }
}

fn is_root(path: &PathAndQuery) -> bool {
    path.as_str() == "/"
}

impl Fetch for RolesAnywhere {
    fn fetch<'a>(&'a self, _parent: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(self.call())
    }
}

impl fmt::Debug for RolesAnywhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RolesAnywhere").field("role_arn", &self.settings.role_arn).finish_non_exhaustive()
    }
}
