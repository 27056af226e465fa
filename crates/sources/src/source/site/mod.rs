//! A site: the routes for people of `alppaca-ims` or AFP, where a person who has signed in may have many roles.

mod accounts;
pub(super) mod options;

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;

use accounts::Accounts;

use super::{
    RoleList, Source, SourceError, SourceFuture,
    ims::{Accepted, ESCAPED, NO_SUCH_ROLE, accept, empty, message_of},
    places::Places,
};
use crate::{
    clock::SharedClock,
    credentials::{Credentials, RoleName, Secret},
    fetch::{self, Answer, Call, Client, Renewed, SetupError, parse_url},
    sign_in::{Known, Session, SshRequest, SshSession},
    text::snippet,
};

/// Hundreds of accounts with their roles must not be cut off by a small limit for documents.
const LEAST_LIST_LIMIT: usize = 1024 * 1024;

/// How long a session lasts, in seconds: said by an `alppaca-ims` that can be asked for that.
const DURATION: HeaderName = HeaderName::from_static("alppaca-ims-duration");

struct Settings {
    /// Without a slash at the end.
    url: String,
    /// How the person proves who that is; without it by nothing but the connection.
    session: Option<Known>,
    clock: SharedClock,
    max_response_bytes: usize,
    concurrency: usize,
}

/// A site.
struct Site {
    settings: Settings,
    client: Renewed,
    places: Places,
}

impl Site {
    fn new(settings: Settings, options: fetch::Options) -> Result<Self, SetupError> {
        let client = Renewed::new(parse_url("site", &settings.url)?, options)?;
        Ok(Self { settings, client, places: Places::default() })
    }

    fn certificate_end(&self) -> Option<Timestamp> {
        self.client.certificate_end()
    }

    /// What the site answers to that person.
    async fn get(&self, url: &str, limit: usize) -> Result<Answer, SourceError> {
        let call = Call::new(Method::GET, url);
        let before = self.settings.session.as_ref().map(Known::serial);
        let client = self.client.current();
        let answer = match &self.settings.session {
            None => client.send(call, limit).await?,
            Some(Known::Provider(session)) => with_token(&client, session, call, limit).await?,
            Some(Known::Ssh(session)) => with_signature(&client, session, url, limit).await?,
        };
        // Not to know who asks is no decision about roles.
        if answer.status == StatusCode::UNAUTHORIZED {
            let reason = message_of(&answer.body).unwrap_or_else(|| answer.detail());
            return Err(SourceError::transient(format!("GET {url}: the site does not know who this is: 401{reason}")));
        }
        // What was asked for one person is for no other.
        if self.settings.session.as_ref().map(Known::serial) != before {
            return Err(SourceError::transient("a person has signed in or out meanwhile"));
        }
        Ok(answer)
    }

    async fn list(&self) -> Result<RoleList, SourceError> {
        let url = format!("{}/account?withid=true", self.settings.url);
        let answer = self.get(&url, self.settings.max_response_bytes.max(LEAST_LIST_LIMIT)).await?;
        let Accepted { body, decided, max_age, date } = accept(answer, &url)?;
        let accounts: Accounts = serde_json::from_slice(&body).map_err(|error| {
            SourceError::transient(format!("GET {url}: no list of accounts: {error}{}", snippet(&body)))
        })?;
        if accounts.0.is_empty() && !decided {
            return Err(empty(&url));
        }
        Ok(RoleList { max_age, date, ..self.places.list(accounts.0) })
    }

    /// A set of a role, whose session lasts as long as is asked for.
    async fn document(&self, role: &RoleName, duration: Option<Duration>) -> Result<Credentials, SourceError> {
        let serial = self.settings.session.as_ref().map_or(0, Known::serial);
        let place = self.places.find(role, serial, &self.settings.clock, self.list()).await?;
        let part = |text| utf8_percent_encode(text, ESCAPED);
        let seconds = duration.map(|duration| duration.as_secs());
        let query = seconds.map(|seconds| format!("?duration={seconds}s")).unwrap_or_default();
        let (account, role) = (part(&place.account), part(&place.role));
        let url = format!("{}/account/{account}/{role}/credentials{query}", self.settings.url);
        let answer = self.get(&url, self.settings.max_response_bytes).await?;
        let granted = answer.headers.get(DURATION).and_then(|value| value.to_str().ok()?.parse().ok());
        let accepted = accept(answer, &url)?;
        if seconds.is_some() && granted != seconds {
            let why =
                "the site does not say that the session lasts as long as was asked for; it may be too old for that";
            return Err(SourceError::doubtful(NO_SUCH_ROLE, format!("GET {url}: {why}")));
        }
        let credentials = accepted.set(&url)?;
        Ok(Credentials { account_id: credentials.account_id.or(place.id), ..credentials })
    }
}

impl Source for Site {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        Box::pin(self.list())
    }

    fn concurrency(&self) -> usize {
        self.settings.concurrency
    }

    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        Box::pin(self.document(role, None))
    }
}

/// A site that is asked for sessions of another length.
struct Lasting {
    site: Arc<Site>,
    duration: Duration,
}

impl Source for Lasting {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        self.site.roles()
    }

    fn concurrency(&self) -> usize {
        self.site.concurrency()
    }

    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        Box::pin(self.site.document(role, Some(self.duration)))
    }
}

async fn with_token(client: &Client, session: &Session, call: Call<'_>, limit: usize) -> Result<Answer, SourceError> {
    let token = session.token().await?;
    let bearer = Secret::new(format!("Bearer {}", token.expose()));
    let answer = client.send(call.secret_header(header::AUTHORIZATION, &bearer)?, limit).await?;
    if answer.status == StatusCode::UNAUTHORIZED {
        session.refused(&token, &reason(&answer));
    }
    Ok(answer)
}

/// A site gives a challenge with its first answer.
async fn with_signature(client: &Client, session: &SshSession, url: &str, limit: usize) -> Result<Answer, SourceError> {
    session.ready()?;
    let uri: Uri = url.parse().map_err(|error| SourceError::transient(format!("{url}: {error}")))?;
    let authority = authority(&uri);
    let host = HeaderValue::from_str(&authority).map_err(|error| SourceError::transient(error.to_string()))?;
    let call = || Call::new(Method::GET, url).header(header::HOST, host.clone());
    let answer = client.send(call(), limit).await?;
    if answer.status != StatusCode::UNAUTHORIZED {
        return Ok(answer);
    }
    let challenges = answer.headers.get_all(header::WWW_AUTHENTICATE).iter();
    let challenges: Vec<&str> = challenges.filter_map(|value| value.to_str().ok()).collect();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = SshRequest { challenges: &challenges, path, authority: &authority };
    let authorization = session.authorization(request).await?;
    let answer = client.send(call().secret_header(header::AUTHORIZATION, &authorization)?, limit).await?;
    if answer.status == StatusCode::UNAUTHORIZED {
        session.refused(&reason(&answer));
    }
    Ok(answer)
}

/// The header `Host` for that URL.
fn authority(uri: &Uri) -> String {
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{}:{port}", uri.host().unwrap_or_default()),
        None => uri.host().unwrap_or_default().to_owned(),
    }
}

/// Why a site does not know who this is.
fn reason(answer: &Answer) -> String {
    format!("401{}", message_of(&answer.body).unwrap_or_default())
}
