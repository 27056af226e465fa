//! A complete answer, and the description of an unexpected one for a message.

use http::{HeaderMap, StatusCode, Uri, header};
use zeroize::Zeroizing;

use crate::text::snippet;

/// A complete answer. For an error the body is only its beginning, unless the call wanted more.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body, which may be a secret.
    pub body: Zeroizing<Vec<u8>>,
    /// Whether a proxy passed it on in the clear, and could have written it.
    pub forwarded: bool,
}

impl Answer {
    /// What the answer contains besides its status, for the end of a message: where it redirects to, or how its text begins.
    pub fn detail(&self) -> String {
        if !self.status.is_redirection() {
            return snippet(&self.body);
        }
        let location = self.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        match location.and_then(|text| text.parse::<Uri>().ok()) {
            Some(uri) => match uri.host() {
                Some(host) => format!(" to the host {host}, and redirects are not followed"),
                None => " to another path, and redirects are not followed".to_owned(),
            },
            None => " without a usable Location".to_owned(),
        }
    }

    /// Whether the proxy itself may have written it, so that the upstream has said nothing.
    ///
    /// Proxies add `Via` to what they pass on (RFC 9110, section 7.6.3), and the usual ones mark
    /// what they wrote themselves: squid by `X-Squid-Error`, newer ones by an `error` in
    /// `Proxy-Status` (RFC 9209), tinyproxy by the absence of `Via`. In doubt credentials stay.
    pub fn is_the_proxys_own(&self) -> bool {
        let own_error =
            self.headers.get_all("proxy-status").iter().any(|value| value.to_str().is_ok_and(|v| v.contains("error")));
        let passed_on =
            self.headers.contains_key(header::VIA) && !self.headers.contains_key("x-squid-error") && !own_error;
        self.forwarded && !passed_on
    }
}
