//! What an answer of the IMS means: which errors say nothing, and which are the upstream's word.

use http::{StatusCode, header};
use zeroize::Zeroizing;

use crate::{
    credentials::DocumentError,
    fetch::Answer,
    source::{ErrorKind, SourceError},
    text::printable,
};

/// The code with which EC2 says that there is no such role for this host.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshoot-iam.html>
pub(in crate::source) const NO_SUCH_ROLE: &str = "AssumeRoleUnauthorizedAccess";

/// The body of a 200, and the error that any other answer to `GET url` is.
pub(super) fn accept(answer: Answer, url: &str) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    if answer.status == StatusCode::OK {
        return match answer.headers.get(header::CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => Err(SourceError::transient(format!(
                "GET {url}: the body is encoded ({}), which was not asked for",
                printable(&String::from_utf8_lossy(encoding.as_bytes()), 20)
            ))),
            _ => Ok(answer.body),
        };
    }
    let message = format!("GET {url}: the answer is {}{}", answer.status, answer.detail());
    if !matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
        return Err(SourceError::transient(message));
    }
    if answer.is_the_proxys_own() {
        return Err(SourceError::transient(format!("{message}; the proxy itself seems to say so")));
    }
    let reason = format!("the upstream answered {}{}", answer.status, answer.detail());
    let kind = ErrorKind::Refused { code: NO_SUCH_ROLE.to_owned(), message: reason, withdraws: true };
    Err(SourceError { kind, message })
}

/// What a 200 means whose body is no set of credentials. Nothing of the body is shown but the code
/// and message of a refusal.
pub(in crate::source) fn bad_document(url: &str, error: DocumentError) -> SourceError {
    let text = format!("GET {url}: {error}");
    match error {
        DocumentError::Refusal { code, message } => {
            let message = message.unwrap_or_else(|| "the upstream gives no reason".to_owned());
            SourceError { kind: ErrorKind::Refused { code, message, withdraws: false }, message: text }
        }
        _ => SourceError::transient(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], forwarded: bool) -> SourceError {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        let status = StatusCode::from_u16(status).expect("a status");
        let body = Zeroizing::new(b"<h1>no\r\n  way</h1>".to_vec());
        let answer = Answer { status, headers: headers.collect(), body, forwarded };
        accept(answer, "http://ims/").expect_err("an error")
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
}
