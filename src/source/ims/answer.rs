//! What an answer of the IMS means: which errors say nothing, and which are the upstream's word.

use std::error::Error;

use http::{HeaderMap, StatusCode, Uri, header};
use zeroize::Zeroizing;

use crate::{
    credentials::DocumentError,
    source::{ErrorKind, SourceError},
};

/// The code with which EC2 says that there is no such role for this host.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshoot-iam.html>
const NO_SUCH_ROLE: &str = "AssumeRoleUnauthorizedAccess";

/// A complete answer. For a status other than 200 the body is only its beginning.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
    /// Whether a proxy passed it on in the clear, and could have written it.
    pub(super) forwarded: bool,
}

impl Answer {
    /// The body of a 200, and the error that any other answer to `GET url` is.
    pub(super) fn accept(self, url: &str) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        if self.status == StatusCode::OK {
            return match self.headers.get(header::CONTENT_ENCODING) {
                Some(encoding) if encoding != "identity" => Err(SourceError::transient(format!(
                    "GET {url}: the body is encoded ({}), which was not asked for",
                    printable(&String::from_utf8_lossy(encoding.as_bytes()), 20)
                ))),
                _ => Ok(self.body),
            };
        }
        let message = format!("GET {url}: the answer is {}{}", self.status, self.detail());
        if !matches!(self.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            return Err(SourceError::transient(message));
        }
        if self.forwarded && !self.came_from_behind_the_proxy() {
            return Err(SourceError::transient(format!("{message}; the proxy itself seems to say so")));
        }
        let reason = format!("the upstream answered {}{}", self.status, self.detail());
        let kind = ErrorKind::Refused { code: NO_SUCH_ROLE.to_owned(), message: reason, withdraws: true };
        Err(SourceError { kind, message })
    }

    fn detail(&self) -> String {
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

    /// Proxies add `Via` to what they pass on (RFC 9110, section 7.6.3), and the usual ones mark
    /// what they wrote themselves: squid by `X-Squid-Error`, newer ones by an `error` in
    /// `Proxy-Status` (RFC 9209), tinyproxy by the absence of `Via`. In doubt credentials stay.
    fn came_from_behind_the_proxy(&self) -> bool {
        let own_error =
            self.headers.get_all("proxy-status").iter().any(|value| value.to_str().is_ok_and(|v| v.contains("error")));
        self.headers.contains_key(header::VIA) && !self.headers.contains_key("x-squid-error") && !own_error
    }
}

/// What a 200 means whose body is no set of credentials. Nothing of the body is shown but the code
/// and message of a refusal.
pub(super) fn bad_document(url: &str, error: DocumentError) -> SourceError {
    let text = format!("GET {url}: {error}");
    match error {
        DocumentError::Refusal { code, message } => {
            let message = message.unwrap_or_else(|| "the upstream gives no reason".to_owned());
            SourceError { kind: ErrorKind::Refused { code, message, withdraws: false }, message: text }
        }
        _ => SourceError::transient(text),
    }
}

/// The beginning of a body for an error message, or nothing if there might be a secret in it.
pub(super) fn snippet(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if may_hold_secret(&text) {
        return " (its text is not shown, as it may hold a secret)".to_owned();
    }
    let text = printable(&text, 80);
    if text.is_empty() { String::new() } else { format!(" ({text:?})") }
}

/// Whether a text that is not what was asked for looks as if there were credentials in it.
pub(super) fn may_hold_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["secret", "token", "accesskey", "access_key", "password"].iter().any(|word| lower.contains(word))
}

fn printable(text: &str, limit: usize) -> String {
    let clean = |c: char| if c.is_control() || c == char::REPLACEMENT_CHARACTER { ' ' } else { c };
    let spaced: String = text.chars().take(limit * 8).map(clean).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(limit).collect()
}

/// An error and its causes in one line, without the repetitions that wrappers make.
pub(super) fn flatten(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], forwarded: bool) -> SourceError {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        let status = StatusCode::from_u16(status).expect("a status");
        let body = Zeroizing::new(b"<h1>no\r\n  way</h1>".to_vec());
        Answer { status, headers: headers.collect(), body, forwarded }.accept("http://ims/").expect_err("an error")
    }

    fn withdraws(error: &SourceError) -> bool {
        matches!(error.kind, ErrorKind::Refused { withdraws: true, .. })
    }

    #[test]
    fn only_403_and_404_withdraw() {
        for status in [204, 301, 302, 304, 400, 401, 402, 405, 407, 408, 410, 418, 429, 500, 502, 503, 504, 599] {
            assert_eq!(answer(status, &[], false).kind, ErrorKind::Transient, "{status}");
        }
        for status in [403, 404] {
            assert!(withdraws(&answer(status, &[], false)), "{status}");
        }
    }

    #[test]
    fn a_proxys_own_404_does_not_withdraw() {
        assert!(!withdraws(&answer(404, &[], true)));
        assert!(!withdraws(&answer(403, &[("via", "1.1 squid"), ("x-squid-error", "ERR_ACCESS_DENIED 0")], true)));
        assert!(!withdraws(&answer(404, &[("via", "1.1 p"), ("proxy-status", "p; error=dns_error")], true)));
        assert!(withdraws(&answer(404, &[("via", "1.1 tinyproxy")], true)));
    }

    #[test]
    fn the_message_says_what_came_instead() {
        assert_eq!(
            answer(503, &[], false).message,
            "GET http://ims/: the answer is 503 Service Unavailable (\"<h1>no way</h1>\")"
        );
        let redirect = answer(302, &[("location", "https://me:s3cr3t@sso.example/login?ticket=s3cr3t")], false);
        assert_eq!(
            redirect.message,
            "GET http://ims/: the answer is 302 Found to the host sso.example, and redirects are not followed"
        );
        assert!(answer(301, &[("location", "/x")], false).message.contains("to another path"));
        assert!(answer(301, &[], false).message.contains("without a usable Location"));
    }

    #[test]
    fn a_snippet_is_short_clean_and_free_of_secrets() {
        assert_eq!(snippet(b"\x1b[31m\n\xff  x"), " (\"[31m x\")");
        assert_eq!(snippet(b""), "");
        assert_eq!(snippet("y".repeat(500).as_bytes()).len(), 80 + " (\"\")".len());
        assert!(!snippet(b"{\"SecretAccessKey\":\"wJalr\"}").contains("wJalr"));
    }

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("refused");
        let outer = std::io::Error::other(inner);
        assert_eq!(flatten(&outer), "refused");
    }
}
