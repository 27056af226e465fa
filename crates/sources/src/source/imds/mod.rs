//! The IMDS of a real EC2 instance as an upstream, or another alppaca: by IMDSv2, and by IMDSv1 only where that is
//! allowed.

pub(super) mod options;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{StatusCode, Uri};
use percent_encoding::utf8_percent_encode;

use super::{
    Fetch, SourceError, SourceFuture,
    ims::{ESCAPED, NO_SUCH_ROLE, bad_document, date, dated, parse_role_list},
};
use crate::{
    credentials::{Credentials, RoleName, parse_document},
    fetch::{Answer, ImdsClient, ImdsError, Options, Proxies, SetupError, TOKEN_PATH},
    text::snippet,
};

pub use options::Settings;

/// Where EC2 has it.
pub const EC2_ENDPOINT: &str = "http://169.254.169.254";

const CREDENTIALS_PATH: &str = "/latest/meta-data/iam/security-credentials/";

/// Documents have some 2 KB, and a list is one line.
const MAX_BYTES: usize = 64 * 1024;

/// An IMDS, shared by all roles that come from it.
pub struct Imds(ImdsClient);

impl Imds {
    /// Prepares the connections; nothing is sent yet. An IMDS is never asked through a proxy.
    pub fn new(settings: &Settings) -> Result<Arc<Self>, SetupError> {
        let options = Options {
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
            limit_name: None,
            ca_file: None,
            client_certificate: None,
            proxies: Proxies::none(),
        };
        let goes_without = if settings.v1_fallback { has_no_tokens } else { |_| false };
        Ok(Arc::new(Self(ImdsClient::new("IMDS", &settings.endpoint, &options, goes_without)?)))
    }

    /// The source of one role: of the one with that name, or else of the first one that is listed.
    pub fn role(self: &Arc<Self>, name: Option<RoleName>) -> ImdsRole {
        ImdsRole { imds: Arc::clone(self), name }
    }

    async fn first_role(&self) -> Result<RoleName, SourceError> {
        let answer = self.get(CREDENTIALS_PATH).await?;
        let url = self.0.url(CREDENTIALS_PATH);
        let list = parse_role_list(&answer.body)
            .map_err(|error| SourceError::transient(format!("GET {url}: {error}{}", snippet(&answer.body))))?;
        list.names.into_iter().next().ok_or_else(|| no_role(&url, "the list of roles is empty"))
    }

    async fn document(&self, role: &RoleName) -> Result<Credentials, SourceError> {
        let path = format!("{CREDENTIALS_PATH}{}", utf8_percent_encode(role.as_str(), ESCAPED));
        let answer = self.get(&path).await?;
        let set = parse_document(&answer.body).map_err(|error| bad_document(&self.0.url(&path), error))?;
        Ok(dated(set, date(&answer.headers)))
    }

    /// A 200.
    async fn get(&self, path: &str) -> Result<Answer, SourceError> {
        let answer = self.0.get(path, MAX_BYTES).await.map_err(|error| self.failure(error))?;
        let url = self.0.url(path);
        let said = format!("GET {url}: the answer is {}{}", answer.status, answer.detail());
        match answer.status {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND => Err(no_role(&url, "the answer is 404 Not Found: the instance has no such role")),
            StatusCode::FORBIDDEN => Err(SourceError::doubtful(NO_SUCH_ROLE, said)),
            _ => Err(SourceError::transient(said)),
        }
    }

    fn failure(&self, error: ImdsError) -> SourceError {
        let url = self.0.url(TOKEN_PATH);
        match error {
            ImdsError::NoAnswer(error) => error.into(),
            ImdsError::NoAnswerForToken(error) => SourceError::transient(format!(
                "{error}; from inside a container EC2 answers only with a hop limit of 2 or more \
                 (HttpPutResponseHopLimit)"
            )),
            ImdsError::NoToken { status: StatusCode::FORBIDDEN, .. } => SourceError::doubtful(
                NO_SUCH_ROLE,
                format!("PUT {url}: the answer is 403 Forbidden: the IMDS is switched off, or refuses this host"),
            ),
            ImdsError::NoToken { status, detail } => {
                SourceError::transient(format!("PUT {url}: the answer is {status}{detail}"))
            }
            ImdsError::NotAToken => SourceError::transient(format!("PUT {url}: the answer is not a token")),
        }
    }
}

/// Whether an IMDS that refuses a token with this status knows only version 1.
fn has_no_tokens(status: StatusCode) -> bool {
    matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}

/// The source of one role of an IMDS.
pub struct ImdsRole {
    imds: Arc<Imds>,
    name: Option<RoleName>,
}

impl Fetch for ImdsRole {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(async move {
            let first;
            let name = match &self.name {
                Some(name) => name,
                None => {
                    first = self.imds.first_role().await?;
                    &first
                }
            };
            self.imds.document(name).await
        })
    }
}

/// Whether a request to `endpoint` would reach one of our own `listeners`. A firewall rule that diverts 169.254.169.254 to
/// us cannot be seen here.
pub fn asks_ourselves(endpoint: &str, listeners: &[SocketAddr]) -> bool {
    let Ok(url) = endpoint.parse::<Uri>() else { return false };
    let Some(host) = url.host() else { return false };
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    let address: Option<IpAddr> = match host.trim_start_matches('[').trim_end_matches(']') {
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        text => text.parse().ok(),
    };
    let Some(address) = address else { return false };
    let same_host = |listener: IpAddr| {
        let whole_host = listener.is_unspecified() && (address.is_loopback() || address.is_unspecified());
        // `localhost` may be either address, and a listener of IPv6 may take IPv4 too.
        let both_loopback = host == "localhost" && listener.is_loopback();
        listener == address || whole_host || both_loopback
    };
    listeners.iter().any(|listener| listener.port() == port && same_host(listener.ip()))
}

fn no_role(url: &str, what: &str) -> SourceError {
    SourceError::doubtful(NO_SUCH_ROLE, format!("GET {url}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seen_when_we_would_ask_ourselves() {
        let ours = |listener: &str| vec![listener.parse().expect("an address")];
        for (endpoint, listener) in [
            ("http://127.0.0.1:25772", "127.0.0.1:25772"),
            ("http://localhost:25772/", "127.0.0.1:25772"),
            ("http://localhost:25772", "[::1]:25772"),
            ("http://127.0.0.1:25772", "0.0.0.0:25772"),
            ("http://[::1]:80", "[::1]:80"),
            (EC2_ENDPOINT, "169.254.169.254:80"),
            ("http://[fd00:ec2::254]", "[fd00:ec2::254]:80"),
        ] {
            assert!(asks_ourselves(endpoint, &ours(listener)), "{endpoint} {listener}");
        }
        for (endpoint, listener) in [
            (EC2_ENDPOINT, "127.0.0.1:25772"),
            (EC2_ENDPOINT, "0.0.0.0:8080"),
            ("http://127.0.0.1:25773", "127.0.0.1:25772"),
            ("http://127.0.0.2:25772", "127.0.0.1:25772"),
            ("http://other.example:25772", "127.0.0.1:25772"),
            ("no url", "127.0.0.1:25772"),
        ] {
            assert!(!asks_ourselves(endpoint, &ours(listener)), "{endpoint} {listener}");
        }
    }
}
