//! One call of the API server, or one stream of events.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};

use crate::{
    fetch::{Answer, Call, Client, FetchError, Options, SetupError, Stream, bearer, parse_url},
    kubernetes::{ApiOptions, parse_status},
    text::printable,
};

/// For one answer, from the request to its end.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest answer. An API server takes objects of 3 MiB at most, of which JSON makes 18 MiB: a byte becomes up to six
/// (`<` is `\u003c`). So nobody can make one that is too long, which would keep all others from being read.
pub(super) const LONGEST: usize = 20 * 1024 * 1024;

/// An API server, as one service account reaches it.
pub struct ApiServer {
    options: ApiOptions,
    client: Client,
}

/// Why a call has failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// There is no answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is longer than is read.
    #[error("{0}: the answer is longer than {LONGEST} bytes")]
    TooLong(String),
    /// The answer is a refusal.
    #[error("{what}: the answer is {status}: {message}")]
    Status {
        /// What was asked.
        what: String,
        /// The status.
        status: StatusCode,
        /// The server's own words.
        message: String,
    },
}

impl ApiServer {
    /// As `options` say. Reads the certificate authorities.
    pub fn new(options: &ApiOptions) -> Result<Self, SetupError> {
        let url = parse_url("API server", &options.server)?;
        let client = Client::new(&url, &Options::direct(TIMEOUT, Some(options.ca_file.clone())))?;
        Ok(Self { options: options.clone(), client })
    }

    /// Reads what is at `path`, in the form that `accept` says.
    pub async fn get(&self, path: &str, accept: &'static str) -> Result<Vec<u8>, ApiError> {
        self.send(Method::GET, path, |call| call.header(header::ACCEPT, HeaderValue::from_static(accept))).await
    }

    /// Changes what is at `path` by a patch of the kind `content_type`; gets what it is then.
    pub async fn patch(&self, path: &str, content_type: &'static str, body: &[u8]) -> Result<Vec<u8>, ApiError> {
        let kind = HeaderValue::from_static(content_type);
        self.send(Method::PATCH, path, |call| call.header(header::CONTENT_TYPE, kind).bytes(body)).await
    }

    /// Reads what happens at `path`, in the form that `accept` says.
    pub async fn watch(&self, path: &str, accept: &'static str) -> Result<Stream, ApiError> {
        self.open(Method::GET, path, |call| call.header(header::ACCEPT, HeaderValue::from_static(accept))).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        complete: impl FnOnce(Call<'_>) -> Call<'_>,
    ) -> Result<Vec<u8>, ApiError> {
        let what = shown(&method, path);
        let exchange = async {
            let mut stream = self.open(method, path, complete).await?;
            let mut body = Vec::new();
            while let Some(piece) = stream.next(TIMEOUT).await? {
                if piece.len() > LONGEST - body.len() {
                    return Err(ApiError::TooLong(what.clone()));
                }
                body.extend_from_slice(&piece);
            }
            Ok(body)
        };
        let late = || FetchError(format!("{what}: no complete answer within {TIMEOUT:?}"));
        tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(late().into()))
    }

    /// Sends it with the token as it is now: the kubelet writes another one long before this one ends.
    async fn open(
        &self,
        method: Method,
        path: &str,
        complete: impl FnOnce(Call<'_>) -> Call<'_>,
    ) -> Result<Stream, ApiError> {
        let url = format!("{}{path}", self.options.server);
        let token = bearer(&self.options.token_file)?;
        let call = Call::new(method.clone(), &url).secret_header(header::AUTHORIZATION, &token)?;
        self.client.stream(complete(call)).await?.map_err(|answer| refused(shown(&method, path), &answer))
    }
}

/// A call, for messages.
fn shown(method: &Method, path: &str) -> String {
    format!("{method} {}", path.split('?').next().unwrap_or_default())
}

fn refused(what: String, answer: &Answer) -> ApiError {
    let said = parse_status(&answer.body).ok().map(|status| status.message).filter(|message| !message.is_empty());
    let message = said.map_or_else(|| answer.detail(), |message| printable(&message, 300));
    ApiError::Status { what, status: answer.status, message }
}
