//! URLs of the AWS console: a sign-in token for credentials, made by AWS's federation endpoint.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_enable-console-custom-url.html>
//!
//! A URL signs in whoever opens it within 15 minutes, so it is a secret.

mod callback;
mod options;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use zeroize::Zeroizing;

pub use callback::Callback;
pub use options::{Options, SETTINGS, read};

use crate::{
    credentials::{Credentials, Secret},
    fetch::{self, Answer, Call, Client, parse_url},
    rules::Grant,
    sts::Minted,
};

/// What a form leaves as it is. (RFC 3986, section 2.3)
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A sign-in token has some 2 KB.
const MAX_BYTES: usize = 64 * 1024;

/// The sign-in and the console of a partition.
struct Hosts {
    partition: &'static str,
    signin: &'static str,
    console: &'static str,
}

const HOSTS: [Hosts; 4] = [
    Hosts { partition: "aws", signin: "signin.aws.amazon.com", console: "console.aws.amazon.com" },
    Hosts { partition: "aws-cn", signin: "signin.amazonaws.cn", console: "console.amazonaws.cn" },
    Hosts { partition: "aws-us-gov", signin: "signin.amazonaws-us-gov.com", console: "console.amazonaws-us-gov.com" },
    Hosts { partition: "aws-eusc", signin: "signin.amazonaws-eusc.eu", console: "console.amazonaws-eusc.eu" },
];

/// Why there is no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleError {
    /// The client wants the console to send the browser somewhere that is not in the list.
    #[error("the callback URL is not one of those that this server allows (`callback_urls`)")]
    Callback,
    /// No console is known for it.
    #[error("no console is known for the partition {0}")]
    Partition(String),
    /// AWS's sign-in gives no token, or cannot be reached.
    #[error("{0}")]
    Unavailable(String),
}

impl ConsoleError {
    /// Whether it is a decision about this client: 403 and not 503.
    pub fn is_decision(&self) -> bool {
        matches!(self, Self::Callback)
    }
}

/// What makes URLs.
pub struct Console {
    options: Options,
    http: fetch::Options,
    /// One for each endpoint.
    clients: Mutex<HashMap<String, Arc<Client>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Token {
    signin_token: String,
}

impl Console {
    /// A URL that opens the console with these credentials. `callback`: where the console sends the browser when the
    /// session is over.
    pub async fn url(&self, minted: &Minted, grant: &Grant, callback: Option<&str>) -> Result<Secret, ConsoleError> {
        let callback = callback.filter(|url| !url.is_empty());
        if callback.is_some_and(|url| !self.options.callbacks.iter().any(|allowed| allowed.covers(url))) {
            return Err(ConsoleError::Callback);
        }
        let partition = grant.arn.partition();
        let hosts = HOSTS.iter().find(|hosts| hosts.partition == partition);
        let hosts = hosts.ok_or_else(|| ConsoleError::Partition(partition.to_owned()))?;
        let usual = || format!("https://{}/federation", hosts.signin);
        let endpoint = self.options.endpoint.clone().unwrap_or_else(usual);
        let token = self.token(&endpoint, minted, grant).await?;
        let destination = self.options.destination.clone().unwrap_or_else(|| format!("https://{}/", hosts.console));
        let issuer = callback.or(self.options.issuer.as_deref()).unwrap_or_default();
        let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let parts = [
            &endpoint,
            "?Action=login&Issuer=",
            &escape(issuer),
            "&Destination=",
            &escape(&destination),
            "&SigninToken=",
            &Zeroizing::new(escape(&token)),
        ];
        Ok(Secret::new(joined(&parts).as_str()))
    }

    async fn token(&self, endpoint: &str, minted: &Minted, grant: &Grant) -> Result<Zeroizing<String>, ConsoleError> {
        let wrong = |what: String| ConsoleError::Unavailable(format!("sign-in of AWS: {what}"));
        // AWS refuses a duration for what was made with a role's credentials: role chaining. Without one, the session ends
        // with its credentials, as one on approval has to.
        let duration = Some(self.options.session_duration).filter(|_| minted.by_user && grant.approval.is_none());
        let client = self.client(endpoint)?;
        let mut answer = ask(&client, endpoint, &minted.credentials, duration).await.map_err(&wrong)?;
        if answer.status == StatusCode::BAD_REQUEST && duration.is_some() {
            tracing::debug!("sign-in of AWS: 400 with SessionDuration, which is left out now");
            answer = ask(&client, endpoint, &minted.credentials, None).await.map_err(&wrong)?;
        }
        if answer.status != StatusCode::OK {
            return Err(wrong(format!("the answer is {}{}", answer.status.as_u16(), answer.detail())));
        }
        match serde_json::from_slice::<Token>(&answer.body) {
            Ok(Token { signin_token }) if !signin_token.is_empty() => Ok(Zeroizing::new(signin_token)),
            // The error may quote the body.
            _ => Err(wrong("the answer has no SigninToken".to_owned())),
        }
    }

    fn client(&self, endpoint: &str) -> Result<Arc<Client>, ConsoleError> {
        // Nothing that could panic is done while it is locked.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(endpoint) {
            return Ok(Arc::clone(client));
        }
        let client = parse_url("sign-in of AWS", endpoint).and_then(|url| Client::new(&url, &self.http));
        let client = Arc::new(client.map_err(|error| ConsoleError::Unavailable(error.to_string()))?);
        clients.insert(endpoint.to_owned(), Arc::clone(&client));
        Ok(client)
    }
}

/// `getSigninToken`, by POST: a query would be in the logs of proxies.
async fn ask(
    client: &Client,
    endpoint: &str,
    credentials: &Credentials,
    duration: Option<Duration>,
) -> Result<Answer, String> {
    // Keys and tokens have no characters that JSON would escape.
    let session = joined(&[
        "{\"sessionId\":\"",
        &credentials.access_key_id,
        "\",\"sessionKey\":\"",
        credentials.secret_access_key.expose(),
        "\",\"sessionToken\":\"",
        credentials.session_token.expose(),
        "\"}",
    ]);
    let session = Zeroizing::new(utf8_percent_encode(&session, ESCAPED).to_string());
    let duration = duration.map(|time| format!("&SessionDuration={}", time.as_secs())).unwrap_or_default();
    let body = joined(&["Action=getSigninToken", &duration, "&Session=", &session]);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let call = Call::new(Method::POST, endpoint).header(CONTENT_TYPE, form).bytes(body.as_bytes());
    client.send(call, MAX_BYTES).await.map_err(|error| error.to_string())
}

/// In one allocation, so that no part is left behind in memory that is not wiped.
fn joined(parts: &[&str]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests;
