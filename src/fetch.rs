//! One bounded HTTP exchange, for what is asked beside the upstreams of credentials: a real IMDS, a set of keys.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_mins(1);

/// Why there is no answer, or no client. Never has a secret in it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The file of certificate authorities is of no use.
    #[error("{}: {problem}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// It took too long.
    #[error("no complete answer within {0:?}")]
    TimedOut(Duration),
    /// No connection, or it broke off, or the answer is too long.
    #[error("{0}")]
    Exchange(String),
}

/// An answer.
#[derive(Debug)]
pub struct Fetched {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

/// A client whose exchanges are bounded in time and size. It follows no redirects and uses no proxy.
#[derive(Debug, Clone)]
pub struct Fetcher {
    pool: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    timeout: Duration,
    limit: usize,
}

impl Fetcher {
    /// For URLs like `url`; with `https` the system's authorities are trusted, and those in `ca_file`.
    pub fn new(url: &str, ca_file: Option<&Path>, timeout: Duration, limit: usize) -> Result<Self, FetchError> {
        let roots = if url.starts_with("https:") { roots(ca_file)? } else { RootCertStore::empty() };
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .build(connector.wrap_connector(tcp));
        Ok(Self { pool, timeout, limit })
    }

    /// Sends one request with these headers and no body, and reads the whole answer.
    pub async fn send(
        &self,
        method: http::Method,
        url: Uri,
        headers: &[(header::HeaderName, HeaderValue)],
    ) -> Result<Fetched, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = url;
        let agent = const { HeaderValue::from_static(concat!("alppaca/", env!("CARGO_PKG_VERSION"))) };
        request.headers_mut().insert(header::USER_AGENT, agent);
        for (name, value) in headers {
            request.headers_mut().insert(name, value.clone());
        }
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .map_err(|_elapsed| FetchError::TimedOut(self.timeout))?
    }

    async fn exchange(&self, request: Request<Empty<Bytes>>) -> Result<Fetched, FetchError> {
        let response = self.pool.request(request).await.map_err(|error| FetchError::Exchange(chain(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.limit).collect().await;
        let body = body.map_err(|error| FetchError::Exchange(format!("the body: {}", chain(&*error))))?.to_bytes();
        Ok(Fetched { status: head.status, headers: head.headers, body })
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, FetchError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let wrong = |problem: String| FetchError::Authorities { path: path.to_owned(), problem };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        let before = store.len();
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            store.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if store.len() == before {
            return Err(wrong("has no certificate (no BEGIN CERTIFICATE line); PEM is needed".to_owned()));
        }
    }
    Ok(store)
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
