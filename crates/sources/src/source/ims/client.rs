//! The settings of an `ImsSource`.

use std::{path::PathBuf, time::Duration};

use http::Uri;

use super::Identity;
use crate::fetch::{Options, Proxies, Renewed, SetupError, parse_url};

/// The IMS and how to talk to it. Each field means what the field of the same name in
/// `config::Ims` means.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The URL of the role list, `http` or `https`, with a final slash and no user name or query.
    pub list_url: String,
    /// For DNS, TCP, the proxy's CONNECT and the TLS handshake of one connection together.
    pub connect_timeout: Duration,
    /// For one whole call, from the request to the last byte of the body.
    pub timeout: Duration,
    /// The longest body that is read; a role list may always have 1 MiB.
    pub max_response_bytes: usize,
    /// How many documents may be fetched concurrently.
    pub concurrency: usize,
    /// Further certificate authorities, PEM. The system's stay in force.
    pub ca_file: Option<PathBuf>,
    /// Certificate chain and key of the client, PEM.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// How this host proves who it is, if not by its certificate.
    pub identity: Option<Identity>,
    /// Which proxy is used, if any.
    pub proxies: Proxies,
}

impl Settings {
    /// A client for the IMS.
    pub(super) fn client(&self) -> Result<Renewed, SetupError> {
        let options = Options {
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
            limit_name: Some("ims_max_response_bytes"),
            ca_file: self.ca_file.clone(),
            client_certificate: self.client_certificate.clone(),
            proxies: self.proxies.clone(),
        };
        Renewed::new(parse_list_url(&self.list_url)?, options)
    }
}

/// Checks the URL of the role list.
fn parse_list_url(text: &str) -> Result<Uri, SetupError> {
    let uri = parse_url("IMS", text)?;
    if !text.ends_with('/') {
        return Err(SetupError::Url { whose: "IMS", problem: format!("must end with a slash: {text}") });
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_to_which_a_role_can_be_appended_are_accepted() {
        for good in ["http://ims/", "https://[::1]:8443/afp/latest/"] {
            assert!(parse_list_url(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "is not a URL"),
            ("ims/", "is not a URL"),
            ("/latest/", "must start with http"),
            ("ftp://ims/", "must start with http"),
            ("http://ims/latest", "must end with a slash"),
            ("http://ims/?x=/", "no query"),
            ("http://ims/#/", "no query"),
            ("http://me:s3cr3t@ims/", "must not carry a user name"),
        ] {
            let message = parse_list_url(bad).expect_err(bad).to_string();
            assert!(message.contains(why) && !message.contains("s3cr3t"), "{bad}: {message}");
        }
    }
}
