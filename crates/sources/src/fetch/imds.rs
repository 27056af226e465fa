//! A client of an IMDS: with a token of version 2, which is made, kept and replaced, or without one where that is allowed.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>

use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::Mutex;

use super::{Answer, Call, Client, FetchError, Options, SetupError, parse_url};
use crate::credentials::{Secret, is_key_text};

/// Where a token is made.
pub const TOKEN_PATH: &str = "/latest/api/token";

/// The longest life of a token, which is what nearly all SDKs ask for.
const TOKEN_TTL: HeaderValue = HeaderValue::from_static("21600");
const TTL_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
/// A token has some 60 bytes.
const MAX_TOKEN: usize = 1024;

/// An IMDS and the token for it.
pub struct ImdsClient {
    client: Client,
    base: String,
    goes_without: fn(StatusCode) -> bool,
    header: Option<(HeaderName, HeaderValue)>,
    token: Mutex<Option<Secret>>,
}

/// Why an IMDS has not answered.
#[derive(Debug, thiserror::Error)]
pub enum ImdsError {
    /// The call for a token failed.
    #[error("{0}")]
    NoAnswerForToken(FetchError),
    /// It gives no token.
    #[error("the IMDS gives no token: {status}{detail}")]
    NoToken {
        /// The status of its answer.
        status: StatusCode,
        /// What else it says.
        detail: String,
    },
    /// What it gives is no token.
    #[error("what the IMDS gives is not a token")]
    NotAToken,
    /// The call itself failed.
    #[error("{0}")]
    NoAnswer(FetchError),
}

impl ImdsClient {
    /// Prepares the connections to the IMDS at `base`; nothing is sent yet. `whose` it is, for messages. It is asked
    /// without a token, in version 1, if `goes_without` holds for the status with which it refuses one.
    pub fn new(
        whose: &'static str,
        base: &str,
        options: &Options,
        goes_without: fn(StatusCode) -> bool,
    ) -> Result<Self, SetupError> {
        let base = base.trim_end_matches('/').to_owned();
        let client = Client::new(&parse_url(whose, &base)?, options)?;
        Ok(Self { client, base, goes_without, header: None, token: Mutex::default() })
    }

    /// One that sends another header with each GET.
    #[must_use]
    pub fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The answer at a path, whatever its status. A token that is not accepted any more (401) is replaced, once.
    pub async fn get(&self, path: &str, max_bytes: usize) -> Result<Answer, ImdsError> {
        let url = self.url(path);
        let token = self.token().await?;
        let answer = self.ask(&url, token.as_ref(), max_bytes).await?;
        match &token {
            Some(old) if answer.status == StatusCode::UNAUTHORIZED => {
                self.forget(old).await;
                let token = self.token().await?;
                self.ask(&url, token.as_ref(), max_bytes).await
            }
            _ => Ok(answer),
        }
    }

    async fn ask(&self, url: &str, token: Option<&Secret>, max_bytes: usize) -> Result<Answer, ImdsError> {
        let mut call = Call::new(Method::GET, url);
        if let Some((name, value)) = &self.header {
            call = call.header(name.clone(), value.clone());
        }
        if let Some(token) = token {
            call = call.secret_header(TOKEN_HEADER, token).map_err(ImdsError::NoAnswer)?;
        }
        self.client.send(call, max_bytes).await.map_err(ImdsError::NoAnswer)
    }

    /// The token, made if there is none; `None` for version 1. Concurrent callers share one request.
    async fn token(&self) -> Result<Option<Secret>, ImdsError> {
        let mut held = self.token.lock().await;
        if held.is_some() {
            return Ok(held.clone());
        }
        let url = self.url(TOKEN_PATH);
        let call = Call::new(Method::PUT, &url).header(TTL_HEADER, TOKEN_TTL);
        let answer = self.client.send(call, MAX_TOKEN).await.map_err(ImdsError::NoAnswerForToken)?;
        match answer.status {
            StatusCode::OK => {
                let text = std::str::from_utf8(&answer.body).map(str::trim).unwrap_or_default();
                if !is_key_text(text) {
                    return Err(ImdsError::NotAToken);
                }
                *held = Some(Secret::new(text));
                Ok(held.clone())
            }
            // Not kept: tokens may be switched on at any time.
            status if (self.goes_without)(status) => Ok(None),
            status => Err(ImdsError::NoToken { status, detail: answer.detail() }),
        }
    }

    async fn forget(&self, old: &Secret) {
        let mut held = self.token.lock().await;
        if held.as_ref() == Some(old) {
            *held = None;
        }
    }
}
