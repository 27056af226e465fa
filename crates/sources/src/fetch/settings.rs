//! The settings of a client, and the errors in them.

use std::{path::PathBuf, time::Duration};

use http::{Uri, uri::Scheme};

use super::Proxies;
use crate::{credentials::Secret, settings::url::is_loopback};

/// How to talk to one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// For DNS, TCP, the proxy's CONNECT and the TLS handshake of one connection together.
    pub connect_timeout: Duration,
    /// For one whole call, from the request to the last byte of the body.
    pub timeout: Duration,
    /// The setting that says how long a body may be, for the message about a longer one.
    pub limit_name: Option<&'static str>,
    /// Further certificate authorities, PEM. The system's stay in force.
    pub ca_file: Option<PathBuf>,
    /// Certificate chain and key of the client, PEM.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Which proxy is used, if any. The environment is never read here.
    pub proxies: Proxies,
}

impl Options {
    /// Directly, within `timeout`, with the system's authorities and those of `ca_file`.
    pub fn direct(timeout: Duration, ca_file: Option<PathBuf>) -> Self {
        let proxies = Proxies::none();
        Self { connect_timeout: timeout, timeout, limit_name: None, ca_file, client_certificate: None, proxies }
    }
}

/// An HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `http://host:port`, without credentials.
    pub url: String,
    /// User name and password, sent as `Proxy-Authorization: Basic`.
    pub credentials: Option<(String, Secret)>,
}

/// Why no client can be made. Each names what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A URL that cannot be used. It is shown only where it has been found to carry no password.
    #[error("the URL of the {whose} {problem}")]
    Url {
        /// `IMS`, `proxy` and the like.
        whose: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The proxy's user name or password.
    #[error("the proxy's user name {0}")]
    ProxyUser(&'static str),
    /// A PEM file that is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// There is nothing to check the server's certificate against.
    #[error(
        "no certificate authorities: the system has none ({0}) and no CA file is configured; install the \
         ca-certificates package or set the CA file"
    )]
    NoRoots(String),
    /// The TLS library refuses.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Checks a URL to which paths will be appended. `whose` is for the error.
pub fn parse_url(whose: &'static str, text: &str) -> Result<Uri, SetupError> {
    let wrong = |problem: &str| SetupError::Url { whose, problem: problem.to_owned() };
    let uri: Uri = text.parse().map_err(|error| wrong(&format!("is not a URL: {error}")))?;
    if uri.scheme() != Some(&Scheme::HTTP) && uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(wrong("must start with http:// or https://"));
    }
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return Err(wrong("names no host"));
    };
    if authority.as_str().contains('@') {
        return Err(wrong("must not carry a user name or password"));
    }
    if text.contains(['?', '#']) {
        return Err(wrong("must have no query and no fragment: a path is appended to it"));
    }
    Ok(uri)
}

/// Whether what is asked there can be read on the way.
pub fn is_clear_text(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|url| url.host().map(str::to_owned));
    url.starts_with("http:") && host.is_some_and(|host| !is_loopback(&host))
}

/// Checks the URL of a proxy, of which only host and port count.
pub(super) fn parse_proxy_url(text: &str) -> Result<Uri, SetupError> {
    let uri = parse_url("proxy", text)?;
    if uri.scheme() != Some(&Scheme::HTTP) {
        let problem = format!("must start with http:// (a proxy that itself speaks TLS is not supported): {text}");
        return Err(SetupError::Url { whose: "proxy", problem });
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_spoken_to_in_the_clear() {
        assert!(parse_proxy_url("http://proxy:3128").is_ok());
        let message = parse_proxy_url("https://proxy:3128").expect_err("TLS").to_string();
        assert!(message.starts_with("the URL of the proxy must start with http://"), "{message}");
    }
}
