//! The IMS, an HTTP server that alone decides which roles this host gets: `GET` of its list gives
//! role names, one a line; the same URL plus a role gives the JSON document that EC2's IMDS would.

mod client;
mod connector;
mod list;
mod tls;

use std::{fmt::Write, path::PathBuf, time::Duration};

use client::{Body, CallError, Client};
pub use list::{ListError, parse_role_list};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;

use super::{ErrorKind, RoleList, Source, SourceError, SourceFuture};
use crate::credentials::{Credentials, DocumentError, RoleName, Secret, parse_document};

/// The longest role list that is read, whatever the limit for documents: 1,000 roles of 64
/// characters do not fit in what is ample for one document.
const LIST_LIMIT: usize = 1024 * 1024;
/// What clients are told of a role that the IMS refuses, in the words of EC2.
const REFUSED: &str = "AssumeRoleUnauthorizedAccess";

/// How to talk to the IMS.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The URL of the role list, with a final slash.
    pub list_url: String,
    /// For TCP, proxy and TLS handshakes of one connection.
    pub connect_timeout: Duration,
    /// For one whole call.
    pub timeout: Duration,
    /// The longest document that is read.
    pub max_response_bytes: usize,
    /// How many calls may run at once.
    pub concurrency: usize,
    /// Further certificate authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// Certificate chain and key of the client, PEM.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// The HTTP proxy in front of the IMS. The environment's proxy variables are not read.
    pub proxy: Option<Proxy>,
}

/// An HTTP proxy.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// `http://host:port`.
    pub url: String,
    /// User name and password.
    pub credentials: Option<(String, Secret)>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A URL of the settings is none.
    #[error("{url:?} is not a URL that can be asked: {reason}")]
    Url {
        /// The text.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A PEM file cannot be read or holds something else.
    #[error("{}: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// TLS refuses the certificate and key.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// The IMS as a source.
#[derive(Debug)]
pub struct ImsSource {
    client: Client,
    list_url: String,
    document_limit: usize,
    calls: Semaphore,
}

impl ImsSource {
    /// A source that asks as `settings` say. Reads the PEM files; asks nothing yet.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let calls = Semaphore::new(settings.concurrency.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self {
            client: Client::new(&settings)?,
            list_url: settings.list_url,
            document_limit: settings.max_response_bytes,
            calls,
        })
    }

    async fn get(&self, url: &str, limit: usize) -> Result<Body, SourceError> {
        let _permit = self.calls.acquire().await.map_err(|_closed| SourceError::transient("shutting down"))?;
        self.client.get(url, limit).await.map_err(|error| explain(url, &error))
    }

    async fn list(&self) -> Result<RoleList, SourceError> {
        let body = self.get(&self.list_url, LIST_LIMIT.max(self.document_limit)).await?;
        parse_role_list(&body).map_err(|error| SourceError::transient(format!("GET {}: {error}", self.list_url)))
    }

    async fn document(&self, role: &RoleName) -> Result<Credentials, SourceError> {
        let url = format!("{}{}", self.list_url, utf8_percent_encode(role.as_str(), NON_ALPHANUMERIC));
        let body = self.get(&url, self.document_limit).await?;
        parse_document(&body).map_err(|error| {
            let message = format!("GET {url}: {error}");
            match error {
                // No better than garbage while a good set is held: it withdraws nothing.
                DocumentError::Refusal { code, message: reason } => SourceError {
                    kind: ErrorKind::Refused { message: reason.unwrap_or_default(), code, withdraws: false },
                    message,
                },
                _ => SourceError::transient(message),
            }
        })
    }
}

impl Source for ImsSource {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        Box::pin(self.list())
    }

    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        Box::pin(self.document(role))
    }
}

/// 403 and 404 are the IMS's own word on the matter; all else says nothing about the role.
fn explain(url: &str, error: &CallError) -> SourceError {
    let mut message = format!("GET {url}: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.ends_with(&text) {
            // Writing to a String cannot fail.
            let _infallible = write!(message, ": {text}");
        }
        cause = inner.source();
    }
    let kind = match error {
        CallError::Status { status: 403 | 404, .. } => {
            ErrorKind::Refused { code: REFUSED.to_owned(), message: error.to_string(), withdraws: true }
        }
        _ => ErrorKind::Transient,
    };
    SourceError { kind, message }
}
