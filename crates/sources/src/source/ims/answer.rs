//! Classifies answers of the IMS: which errors are transient, and which are the upstream's decision.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use zeroize::Zeroizing;

use crate::{
    clock::until,
    credentials::{Credentials, DocumentError, parse_document},
    fetch::Answer,
    refresh::{ErrorKind, SourceError},
    text::printable,
};

/// The code with which EC2 says that there is no such role for this host.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshoot-iam.html>
pub(in crate::source) const NO_SUCH_ROLE: &str = "AssumeRoleUnauthorizedAccess";

/// The header, and its value, of a server that answers 403, 404 or an empty list only where it has decided so, and 5xx
/// where it is in trouble itself. AFP, which has no such header, answers all of these when its own key is rotated.
const DECIDES: (HeaderName, &str) = (HeaderName::from_static("alppaca-ims"), "1");

/// A 200.
#[derive(Debug)]
pub(in crate::source) struct Accepted {
    pub(in crate::source) body: Zeroizing<Vec<u8>>,
    /// Whether the server is authoritative, so that its answer is a decision.
    pub(in crate::source) decided: bool,
    /// For how long it is fresh, if it states it.
    pub(in crate::source) max_age: Option<Duration>,
    /// The server's clock at the time of the answer, if it states it.
    pub(in crate::source) date: Option<Timestamp>,
}

impl Accepted {
    /// The set in it, which `GET url` has brought.
    pub(in crate::source) fn set(&self, url: &str) -> Result<Credentials, SourceError> {
        let set = parse_document(&self.body).map_err(|error| bad_document(url, error))?;
        Ok(dated(set, self.date))
    }
}

/// The set, with its life by the clock of its upstream, if that is known by a date.
pub(in crate::source) fn dated(set: Credentials, date: Option<Timestamp>) -> Credentials {
    Credentials { life: date.map(|date| until(set.expiration, date)).or(set.life), ..set }
}

/// The body of a 200, and the error that any other answer to `GET url` is.
pub(in crate::source) fn accept(answer: Answer, url: &str) -> Result<Accepted, SourceError> {
    let decided = decides(&answer.headers);
    if answer.status == StatusCode::OK {
        return match answer.headers.get(header::CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => Err(SourceError::transient(format!(
                "GET {url}: the body is encoded ({}), which was not requested",
                printable(&String::from_utf8_lossy(encoding.as_bytes()), 20)
            ))),
            _ => Ok(Accepted {
                decided,
                max_age: max_age(&answer.headers),
                date: date(&answer.headers),
                body: answer.body,
            }),
        };
    }
    let said = message_of(&answer.body).unwrap_or_else(|| answer.detail());
    let message = format!("GET {url}: the answer is {}{said}", answer.status);
    if !is_refusal(answer.status) {
        let again = retry_after(answer.status, &answer.headers);
        return Err(SourceError { again, ..SourceError::transient(message) });
    }
    if answer.is_the_proxys_own() {
        return Err(SourceError::transient(format!("{message}; this seems to come from the proxy itself")));
    }
    let withdraws = decided && matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
    let reason = format!("the upstream answered {}{said}", answer.status);
    let kind = ErrorKind::Refused { code: NO_SUCH_ROLE.to_owned(), message: reason, withdraws };
    Err(SourceError::new(kind, message))
}

/// An empty list of a server that also gives one when it is in trouble.
pub(in crate::source) fn empty(url: &str) -> SourceError {
    SourceError::doubtful(NO_SUCH_ROLE, format!("GET {url}: the role list is empty"))
}

/// Whether a status speaks of what was asked for. 407 is of a proxy; the others say that this was not the time.
fn is_refusal(status: StatusCode) -> bool {
    const LATER: [StatusCode; 4] = [
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    status.is_client_error() && !LATER.contains(&status)
}

fn decides(headers: &HeaderMap) -> bool {
    let (name, value) = DECIDES;
    headers.get(name).is_some_and(|given| given == value)
}

/// `max-age` of `Cache-Control`. Zero is what frameworks send by themselves: it says nothing of how often to ask.
/// <https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.1>
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let mut directives = lines.flat_map(|line| line.split(','));
    let seconds = directives.find_map(|directive| {
        let (name, value) = directive.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().ok())?
    });
    seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// The `Date` of an answer that no cache has kept for a while.
pub(in crate::source) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get(header::DATE).filter(|_| headers.get(header::AGE).is_none_or(|age| age == "0"))?;
    http_date(date.as_bytes())
}

/// A date as headers have it.
pub(in crate::source) fn http_date(text: &[u8]) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// When to come back, as a 503 or 429 says. An HTTP date counts from the answer's own `Date`, so that this host's clock does
/// not matter. <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        return None;
    }
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    // A sign is none of the digits that the RFC allows.
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.parse().ok().map(Duration::from_secs);
    }
    let then = http_date(value.as_bytes())?;
    then.duration_since(date(headers)?).try_into().ok()
}

/// What a JSON error says, for the end of a message: AFP's has 80 characters before its `message`.
pub(in crate::source) fn message_of(body: &[u8]) -> Option<String> {
    let error: serde_json::Value = serde_json::from_slice(body).ok()?;
    let message = printable(error.get("message")?.as_str()?, 80);
    (!message.is_empty()).then(|| format!(" ({message:?})"))
}

/// What a 200 means whose body is no set of credentials. Nothing of the body is shown but the code
/// and message of a refusal.
pub(in crate::source) fn bad_document(url: &str, error: DocumentError) -> SourceError {
    let text = format!("GET {url}: {error}");
    match error {
        DocumentError::Refusal { code, message } => {
            let message = message.unwrap_or_else(|| "the upstream returned no reason".to_owned());
            SourceError::new(ErrorKind::Refused { code, message, withdraws: false }, text)
        }
        _ => SourceError::transient(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], forwarded: bool) -> SourceError {
        let answer = given(status, headers, b"<h1>no\r\n  way</h1>");
        accept(Answer { forwarded, ..answer }, "http://ims/").expect_err("an error")
    }

    fn given(status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) -> Answer {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        let status = StatusCode::from_u16(status).expect("a status");
        Answer { status, headers: headers.collect(), body: Zeroizing::new(body.to_vec()), forwarded: false }
    }

    fn is_doubtful(error: &SourceError) -> bool {
        matches!(error.kind, ErrorKind::Refused { withdraws: false, .. })
    }

    #[test]
    fn only_a_server_that_says_what_it_has_decided_withdraws_and_only_by_403_and_404() {
        let ours = [("alppaca-ims", "1")];
        for status in [204, 301, 302, 304, 407, 408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(answer(status, &[], false).kind, ErrorKind::Transient, "{status}");
            assert_eq!(answer(status, &ours, false).kind, ErrorKind::Transient, "{status}");
        }
        for status in [400, 401, 402, 403, 404, 405, 410, 418] {
            assert!(is_doubtful(&answer(status, &[], false)), "{status}");
            assert!(is_doubtful(&answer(status, &[("alppaca-ims", "2")], false)), "{status}");
            assert_eq!(answer(status, &ours, false).withdraws(), matches!(status, 403 | 404), "{status}");
        }
    }

    #[test]
    fn what_a_proxy_may_have_written_itself_is_no_refusal() {
        let proxys: [&[_]; 3] = [
            &[],
            &[("via", "1.1 squid"), ("x-squid-error", "ERR_ACCESS_DENIED 0")],
            &[("via", "1.1 p"), ("proxy-status", "p; error=dns_error")],
        ];
        for headers in proxys {
            assert_eq!(answer(404, headers, true).kind, ErrorKind::Transient, "{headers:?}");
        }
        assert!(is_doubtful(&answer(404, &[("via", "1.1 tinyproxy")], true)));
        assert!(answer(404, &[("via", "1.1 tinyproxy"), ("alppaca-ims", "1")], true).withdraws());
    }

    #[test]
    fn how_long_an_answer_is_fresh_is_read_from_cache_control() {
        let age = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, value.parse().expect("a value"))]);
            max_age(&headers).map(|age| age.as_secs())
        };
        for (value, seconds) in [("max-age=600", 600), ("private, Max-Age=\"60\"", 60), ("s-maxage=1,max-age=2", 2)] {
            assert_eq!(age(value), Some(seconds), "{value}");
        }
        for value in ["", "no-store", "max-age", "max-age=", "max-age=-1", "max-age=0", "no-cache, max-age=0"] {
            assert_eq!(age(value), None, "{value}");
        }
    }

    #[test]
    fn the_servers_clock_is_read_unless_a_cache_kept_the_answer() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        headers.insert(header::DATE, "Mon, 23 Nov 2026 10:00:00 GMT".parse().expect("a value"));
        assert_eq!(date(&headers), "2026-11-23T10:00:00Z".parse().ok());
        headers.insert(header::AGE, "30".parse().expect("a value"));
        assert_eq!(date(&headers), None);
        assert_eq!(date(&HeaderMap::from_iter([(header::DATE, "noon".parse().expect("a value"))])), None);
    }

    #[test]
    fn a_set_lives_as_long_as_the_servers_clock_says() {
        const DATE: (&str, &str) = ("date", "Mon, 23 Nov 2026 10:00:00 GMT");
        let life = |headers: &[_], expiration: &str| {
            let body = format!(
                r#"{{"Code":"Success","AccessKeyId":"ASIA1","SecretAccessKey":"s","Token":"t","Expiration":"{expiration}"}}"#
            );
            let accepted = accept(given(200, headers, body.as_bytes()), "http://ims/").expect("a 200");
            accepted.set("http://ims/").expect("a set").life.map(|life| life.as_secs())
        };
        assert_eq!(life(&[DATE], "2026-11-23T10:59:00Z"), Some(59 * 60));
        assert_eq!(life(&[DATE, ("age", "0")], "2026-11-23T09:59:00Z"), Some(0));
        assert_eq!(life(&[DATE, ("age", "1")], "2026-11-23T10:59:00Z"), None);
    }

    #[test]
    fn when_to_come_back_is_read_in_seconds_and_as_a_date() {
        const DATE: (&str, &str) = ("date", "Mon, 23 Nov 2026 10:00:00 GMT");
        let again = |status, headers: &[_]| answer(status, headers, false).again.map(|again| again.as_secs());
        let later = ("retry-after", "Mon, 23 Nov 2026 10:02:00 GMT");
        assert_eq!(again(503, &[("retry-after", "30")]), Some(30));
        assert_eq!(again(429, &[("retry-after", "0")]), Some(0));
        assert_eq!(again(503, &[later, DATE]), Some(120));
        assert_eq!(again(503, &[later]), None, "by which clock?");
        assert_eq!(again(503, &[later, DATE, ("age", "5")]), None);
        for nonsense in ["", "+5", "-5", "1.5", "soon", "99999999999999999999", "Mon, 23 Nov 2026 09:00:00 GMT"] {
            assert_eq!(again(503, &[("retry-after", nonsense), DATE]), None, "{nonsense}");
        }
        for other in [403, 404, 500, 301] {
            assert_eq!(again(other, &[("retry-after", "30")]), None, "{other}");
        }
    }

    #[test]
    fn a_json_error_is_quoted_by_its_message() {
        let body = |text: &str| message_of(text.as_bytes());
        let afp = r#"{"status": 404, "error": "404 Not Found", "message": "ConfigurationError", "traceback": null}"#;
        assert_eq!(body(afp).as_deref(), Some(" (\"ConfigurationError\")"));
        for other in ["", "no", "[]", "{}", r#"{"message": null}"#, r#"{"message": " "}"#] {
            assert_eq!(body(other), None, "{other}");
        }
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
