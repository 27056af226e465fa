//! HashiCorp Vault's AWS secrets engine (and OpenBao's): a set is requested by `GET mount/sts/ROLE`.
//! <https://developer.hashicorp.com/vault/api-docs/secret/aws#generate-credentials>

mod answer;
mod login;
pub(super) mod options;

use std::{fmt::Write, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::utf8_percent_encode;
use tokio::sync::Mutex;

pub use answer::{AnswerError, Issued, Login, parse_credentials, parse_errors, parse_login};
pub use login::Auth;

use self::login::Session;
use super::{
    ErrorKind, Fetch, SourceError, SourceFuture,
    ims::{ESCAPED, NO_SUCH_ROLE},
};
use crate::{
    clock::SharedClock,
    credentials::{Credentials, RoleArn, Secret},
    fetch::{Answer, Call, Client, Options, SetupError, parse_url},
};

const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE_HEADER: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Vault's agents and proxies can be configured to refuse requests without it, against forged requests.
const REQUEST_HEADER: HeaderName = HeaderName::from_static("x-vault-request");

/// Answers have some 3 KB.
const MAX_BYTES: usize = 64 * 1024;

/// The server and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `https://vault.example.com:8200`.
    pub address: String,
    /// The namespace, in Vault Enterprise and OpenBao.
    pub namespace: Option<String>,
    /// Where the AWS secrets engine is mounted: `aws`.
    pub mount: String,
    /// How we authenticate.
    pub auth: Auth,
    /// Time-outs, CA, client certificate and proxy.
    pub http: Options,
}

/// Which of the engine's two paths is asked. For most roles both do the same; `creds` is needed for roles of the type
/// `iam_user`, whose keys have no session token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `sts/ROLE`.
    Sts,
    /// `creds/ROLE`.
    Creds,
}

impl Endpoint {
    fn word(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Creds => "creds",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSettings {
    /// The role's name in Vault.
    pub role: String,
    /// The path that is asked.
    pub endpoint: Endpoint,
    /// The life of the set; Vault's default without it.
    pub ttl: Option<Duration>,
    /// Which of the role's `role_arns` is assumed; needed if it has several.
    pub role_arn: Option<RoleArn>,
    /// The name of the session; Vault makes one up without it.
    pub session_name: Option<String>,
}

/// A Vault, shared by all roles that come from it: they share its connections and its login.
pub struct Vault {
    client: Client,
    settings: Settings,
    base: String,
    namespace: Option<HeaderValue>,
    clock: SharedClock,
    session: Mutex<Option<Session>>,
}

impl Vault {
    /// Prepares the connections; nothing is sent yet.
    pub fn new(settings: Settings, clock: SharedClock) -> Result<Arc<Self>, SetupError> {
        let base = format!("{}/v1", settings.address.trim_end_matches('/'));
        let client = Client::new(&parse_url("Vault", &settings.address)?, &settings.http)?;
        let namespace = match &settings.namespace {
            Some(name) => Some(HeaderValue::from_str(name).map_err(|_| SetupError::Url {
                whose: "Vault",
                problem: "comes with a namespace that cannot be sent in a header".to_owned(),
            })?),
            None => None,
        };
        Ok(Arc::new(Self { client, settings, base, namespace, clock, session: Mutex::new(None) }))
    }

    /// The source of one role.
    pub fn role(self: &Arc<Self>, settings: RoleSettings) -> VaultRole {
        VaultRole { vault: Arc::clone(self), settings }
    }

    async fn issue(&self, role: &RoleSettings) -> Result<Credentials, SourceError> {
        let url = self.credentials_url(role);
        let session = self.session().await?;
        // Counted from before the question, so that the set ends earlier for us than in truth, not later.
        let mut asked = self.clock.now();
        let mut answer = self.ask(&url, &session.token).await?;
        if answer.status == StatusCode::FORBIDDEN && self.settings.auth.is_login() {
            // The token may have been revoked, or be over.
            let session = self.renew(&session).await?;
            asked = self.clock.now();
            answer = self.ask(&url, &session.token).await?;
        }
        let answer = accept("GET", &url, answer)?;
        let set =
            parse_credentials(&answer.body).map_err(|error| SourceError::transient(format!("GET {url}: {error}")))?;
        Ok(Credentials {
            access_key_id: set.access_key_id,
            secret_access_key: set.secret_access_key,
            session_token: set.session_token.unwrap_or_else(|| Secret::new("")),
            expiration: super::long_term::assumed_end(asked.wall, set.lifetime),
            life: None,
            last_updated: None,
            account_id: role.role_arn.as_ref().map(RoleArn::account),
            role_arn: role.role_arn.clone(),
        })
    }

    fn credentials_url(&self, role: &RoleSettings) -> String {
        let endpoint = role.endpoint.word();
        let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let mut url = format!("{}/{}/{endpoint}/{}", self.base, path(&self.settings.mount), escape(&role.role));
        let ttl = role.ttl.map(|ttl| format!("{}s", ttl.as_secs()));
        let query = [
            ("ttl", ttl.as_deref()),
            ("role_arn", role.role_arn.as_ref().map(RoleArn::as_str)),
            ("role_session_name", role.session_name.as_deref()),
        ];
        let mut separator = '?';
        for (key, value) in query.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            // A String takes whatever is written.
            let _ = write!(url, "{separator}{key}={}", escape(value));
            separator = '&';
        }
        url
    }

    async fn ask(&self, url: &str, token: &Secret) -> Result<Answer, SourceError> {
        let call = self.call(Method::GET, url).secret_header(TOKEN_HEADER, token)?;
        Ok(self.client.send(call, MAX_BYTES).await?)
    }

    fn call<'a>(&self, method: Method, url: &'a str) -> Call<'a> {
        let call = Call::new(method, url).with_whole_errors().header(REQUEST_HEADER, HeaderValue::from_static("true"));
        match &self.namespace {
            Some(namespace) => call.header(NAMESPACE_HEADER, namespace.clone()),
            None => call,
        }
    }
}

/// The segments of a mount, escaped one by one.
fn path(mount: &str) -> String {
    let segments = mount.trim_matches('/').split('/');
    segments.map(|segment| utf8_percent_encode(segment, ESCAPED).to_string()).collect::<Vec<_>>().join("/")
}

/// The 200, and the error that anything else is.
/// <https://developer.hashicorp.com/vault/api-docs#http-status-codes>
fn accept(method: &str, url: &str, answer: Answer) -> Result<Answer, SourceError> {
    let status = answer.status;
    if status == StatusCode::OK {
        return Ok(answer);
    }
    // The query has nothing secret, but much text.
    let url = url.split('?').next().unwrap_or_default();
    let said = parse_errors(&answer.body);
    let said = if said.is_empty() { answer.detail() } else { format!(" ({said})") };
    let message = format!("{method} {url}: the answer is {status}{said}");
    match status {
        _ if answer.is_the_proxys_own() => {
            Err(SourceError::transient(format!("{message}; this may come from the proxy")))
        }
        StatusCode::SERVICE_UNAVAILABLE => Err(SourceError::transient(format!("{message}; Vault is sealed or down"))),
        StatusCode::TOO_MANY_REQUESTS => Err(SourceError::transient(message)),
        status if status.is_client_error() => {
            // The set that is there is as good as before: Vault cannot take back a session of STS.
            let kind = ErrorKind::Refused { code: NO_SUCH_ROLE.to_owned(), message: message.clone(), withdraws: false };
            Err(SourceError::new(kind, message))
        }
        _ => Err(SourceError::transient(message)),
    }
}

/// The source of one role of a Vault.
pub struct VaultRole {
    vault: Arc<Vault>,
    settings: RoleSettings,
}

impl Fetch for VaultRole {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(self.vault.issue(&self.settings))
    }
}
