//! One bounded GET: in time, in size, without redirects and without surprises.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, LOCATION, PROXY_AUTHORIZATION, USER_AGENT},
};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as _, Incoming};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Settings, SetupError, connector::Connector, tls};

/// An answer's body. Wiped when dropped: it may be a document.
pub(super) type Body = Zeroizing<Vec<u8>>;

/// Idle connections are kept a little longer than the usual interval of asking.
const IDLE: Duration = Duration::from_secs(90);
/// How much of the body of an error is shown.
const SNIPPET: usize = 80;

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("no whole answer within {0:?}")]
    TimedOut(Duration),
    #[error("it cannot be asked")]
    Unreachable(#[source] legacy::Error),
    #[error("the answer broke off")]
    BrokenOff(#[source] hyper::Error),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer is compressed ({0}), which was not asked for")]
    Compressed(String),
    #[error("it redirects to {0}, which is not followed")]
    Redirected(String),
    #[error("status {status}{}", if snippet.is_empty() { String::new() } else { format!(" ({snippet})") })]
    Status { status: u16, snippet: String },
}

/// A client of one IMS. Connections are kept open between calls.
pub(super) struct Client {
    http: legacy::Client<Connector, Empty<Bytes>>,
    timeout: Duration,
    /// For a proxy that is asked for whole URLs; a tunnel is authenticated when it is made.
    proxy_authorization: Option<HeaderValue>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let list = url(&settings.list_url)?;
        let proxy = match &settings.proxy {
            None => None,
            Some(proxy) => {
                let auth = proxy.credentials.as_ref().map(|(user, password)| basic(user, password.expose()));
                Some((url(&proxy.url)?, auth))
            }
        };
        let forwards = list.scheme_str() == Some("http");
        let proxy_authorization = proxy.as_ref().filter(|_| forwards).and_then(|(_, auth)| auth.clone());
        let connector = Connector::new(tls::config(settings)?, proxy, settings.connect_timeout);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(settings.concurrency)
            .build(connector);
        Ok(Self { http, timeout: settings.timeout, proxy_authorization })
    }

    /// Gets `url`, reading no more than `limit` bytes of body.
    pub(super) async fn get(&self, url: &str, limit: usize) -> Result<Body, CallError> {
        timeout(self.timeout, self.exchange(url, limit)).await.map_err(|_elapsed| CallError::TimedOut(self.timeout))?
    }

    async fn exchange(&self, url: &str, limit: usize) -> Result<Body, CallError> {
        let mut request = Request::new(Empty::new());
        // The list's URL was checked, and a role adds only escapes.
        *request.uri_mut() = url.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("alppaca/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = &self.proxy_authorization {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let response = self.http.request(request).await.map_err(CallError::Unreachable)?;
        if response.status() == StatusCode::OK {
            refuse_encodings(&response)?;
            return read(response.into_body(), limit).await;
        }
        Err(refused(response).await)
    }
}

fn refuse_encodings(response: &Response<Incoming>) -> Result<(), CallError> {
    match response.headers().get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(CallError::Compressed(printable(encoding.as_bytes()))),
        _ => Ok(()),
    }
}

async fn refused(response: Response<Incoming>) -> CallError {
    let status = response.status();
    if status.is_redirection() {
        // Only where to: the rest of the URL may be a secret.
        let host = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()?.parse::<Uri>().ok());
        let host = host.as_ref().and_then(Uri::host).unwrap_or("another path");
        return CallError::Redirected(host.to_owned());
    }
    // What it says is of help, but not needed: a body that breaks off is as good as none.
    let body = read(response.into_body(), 64 * 1024).await.unwrap_or_default();
    CallError::Status { status: status.as_u16(), snippet: printable(&body) }
}

/// The first line that says something, without markup and control characters.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::new();
    let mut in_tag = false;
    for character in text.chars() {
        match character {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if in_tag => {}
            c if c.is_control() || c.is_whitespace() => {
                if !plain.is_empty() && !plain.ends_with(' ') {
                    plain.push(' ');
                }
            }
            c => plain.push(c),
        }
    }
    plain.trim_end().chars().take(SNIPPET).collect()
}

async fn read(mut incoming: Incoming, limit: usize) -> Result<Body, CallError> {
    let announced = incoming.size_hint().exact().unwrap_or_default();
    if announced > limit as u64 {
        return Err(CallError::TooLong(limit));
    }
    // Sized at once where it can be: a buffer that grows leaves unwiped copies behind.
    let expected = usize::try_from(announced).unwrap_or_default().max(4096.min(limit));
    let mut body = Zeroizing::new(Vec::with_capacity(expected));
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(CallError::BrokenOff)?;
        let Ok(data) = frame.into_data() else { continue };
        if body.len() + data.len() > limit {
            return Err(CallError::TooLong(limit));
        }
        body.extend_from_slice(&data);
    }
    Ok(body)
}

fn url(text: &str) -> Result<Uri, SetupError> {
    let error = |reason: &dyn fmt::Display| SetupError::Url { url: text.to_owned(), reason: reason.to_string() };
    let url: Uri = text.parse().map_err(|reason: http::uri::InvalidUri| error(&reason))?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(_)) => Ok(url),
        _ => Err(error(&"it has to begin with http:// or https:// and a host")),
    }
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    // Base64 is always a legal header value.
    let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
