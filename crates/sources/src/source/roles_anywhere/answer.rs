//! What the service answers: a set of credentials, or why there is none. Pure.
//! <https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-create-session.html>

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::{
    credentials::{Credentials, DocumentError, RoleArn, Secret, is_key_text, parse_timestamp},
    refresh::{ErrorKind, SourceError},
    text::printable,
};

/// How far a request's time may be off. <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>
const MAX_SKEW: Duration = Duration::from_mins(5);

/// EC2's word for "this host may not have that role".
const NOT_AUTHORISED: &str = "AssumeRoleUnauthorizedAccess";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow, default)]
    credential_set: Vec<WireSet<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSet<'a> {
    #[serde(borrow)]
    credentials: WireCredentials<'a>,
    #[serde(borrow)]
    role_arn: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireCredentials<'a> {
    #[serde(borrow)]
    access_key_id: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "secret")]
    secret_access_key: Option<Zeroizing<String>>,
    #[serde(default, deserialize_with = "secret")]
    session_token: Option<Zeroizing<String>>,
    #[serde(borrow)]
    expiration: Option<Cow<'a, str>>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Zeroizing::new))
}

/// Reads the answer of `CreateSession`: the first set in it.
pub fn parse_session(body: &[u8]) -> Result<Credentials, DocumentError> {
    if body.trim_ascii().is_empty() {
        return Err(DocumentError::Empty);
    }
    let wire: Wire = serde_json::from_slice(body)
        .map_err(|error| DocumentError::Json { line: error.line(), column: error.column() })?;
    let set = wire.credential_set.first().ok_or(DocumentError::Missing("credentialSet"))?;
    let credentials = &set.credentials;
    let role_arn: Option<RoleArn> = set.role_arn.as_deref().and_then(|arn| arn.parse().ok());
    let access_key_id = filled("accessKeyId", credentials.access_key_id.as_deref())?;
    let secret_access_key = filled("secretAccessKey", credentials.secret_access_key.as_deref().map(String::as_str))?;
    let session_token = filled("sessionToken", credentials.session_token.as_deref().map(String::as_str))?;
    let expiration = credentials.expiration.as_deref().ok_or(DocumentError::Missing("expiration"))?;
    Ok(Credentials {
        access_key_id: access_key_id.to_owned(),
        secret_access_key: Secret::new(secret_access_key),
        session_token: Secret::new(session_token),
        expiration: parse_timestamp(expiration).ok_or(DocumentError::Expiration)?,
        life: None,
        last_updated: None,
        account_id: role_arn.as_ref().map(RoleArn::account),
        role_arn,
    })
}

fn filled<'a>(field: &'static str, value: Option<&'a str>) -> Result<&'a str, DocumentError> {
    let value = value.filter(|text| !text.is_empty()).ok_or(DocumentError::Missing(field))?;
    if is_key_text(value) { Ok(value) } else { Err(DocumentError::Characters(field)) }
}

#[derive(Deserialize)]
struct WireError<'a> {
    #[serde(borrow, rename = "__type", alias = "code", alias = "Code")]
    code: Option<Cow<'a, str>>,
    #[serde(borrow, alias = "Message")]
    message: Option<Cow<'a, str>>,
}

/// What an answer means that is no 2xx.
pub(super) fn refusal(
    url: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    detail: &str,
    now: Timestamp,
) -> SourceError {
    let wire = serde_json::from_slice::<WireError>(body).ok();
    let in_header = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let code = in_header.or_else(|| wire.as_ref().and_then(|wire| wire.code.as_deref()));
    // `AccessDeniedException:http://…` and `namespace#AccessDeniedException` mean the same.
    let code =
        code.map(|code| code.split(':').next().unwrap_or(code)).map(|code| code.rsplit('#').next().unwrap_or(code));
    let skew = skew(headers, now).map(|skew| format!("; {skew}")).unwrap_or_default();
    let Some(code) = code.map(|code| printable(code, 64)).filter(|code| !code.is_empty()) else {
        // This answer is not from the service.
        return SourceError::transient(format!("POST {url}: the answer is {status}{detail}{skew}"));
    };
    let reason = wire.and_then(|wire| wire.message.map(|text| printable(&text, 256))).filter(|text| !text.is_empty());
    let said = reason.map_or_else(|| code.clone(), |reason| format!("{code}: {reason}"));
    let message = format!("POST {url}: the answer is {status}: {said}{skew}");
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || is_transient(&code) {
        return SourceError::transient(message);
    }
    let code = if code.starts_with("AccessDenied") { NOT_AUTHORISED.to_owned() } else { code };
    // What is held stays until it expires: the service may have been misconfigured a moment ago.
    let kind = ErrorKind::Refused { code, message: format!("{said}{skew}"), withdraws: false };
    SourceError::new(kind, message)
}

/// Codes that say nothing of the request itself, whatever the status: throttling comes as 400, too.
/// `RetryableErrors` in botocore's `data/_retry.json` and its standard mode.
fn is_transient(code: &str) -> bool {
    code.contains("Throttl")
        || matches!(
            code,
            "TooManyRequestsException"
                | "RequestLimitExceeded"
                | "LimitExceededException"
                | "SlowDown"
                | "PriorRequestNotComplete"
                | "RequestTimeout"
                | "RequestTimeoutException"
                | "InternalFailure"
                | "InternalError"
                | "InternalServerException"
                | "ServiceUnavailable"
                | "ServiceUnavailableException"
        )
}

/// The error of our clock by the `Date` of an answer, if it is too large for signatures.
fn skew(headers: &HeaderMap, now: Timestamp) -> Option<String> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    let off = theirs.duration_since(now);
    let direction = if off.is_positive() { "behind" } else { "ahead of" };
    let off = off.unsigned_abs();
    (off > MAX_SKEW).then(|| {
        format!("this host's clock is {} s {direction} the service's, which makes signatures invalid", off.as_secs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"credentialSet":[{"assumedRoleUser":{"arn":"arn:aws:sts::123456789012:assumed-role/web/5a1f",
        "assumedRoleId":"AROA:5a1f"},"credentials":{"accessKeyId":"ASIAEXAMPLE","expiration":"2026-11-24T20:00:00Z",
        "secretAccessKey":"wJalr/+=","sessionToken":"IQoJ//="},"packedPolicySize":10,
        "roleArn":"arn:aws:iam::123456789012:role/web","sourceIdentity":"CN=web"}],
        "subjectArn":"arn:aws:rolesanywhere:eu-central-1:123456789012:subject/41cl"}"#;

    #[test]
    fn the_first_set_is_taken() {
        let credentials = parse_session(GOOD.as_bytes()).expect("good");
        assert_eq!(credentials.access_key_id, "ASIAEXAMPLE");
        assert_eq!(credentials.secret_access_key.expose(), "wJalr/+=");
        assert_eq!(credentials.session_token.expose(), "IQoJ//=");
        assert_eq!(credentials.expiration, "2026-11-24T20:00:00Z".parse().expect("a time"));
        assert_eq!(credentials.account_id.map(|id| id.to_string()).as_deref(), Some("123456789012"));
        assert_eq!(credentials.role_arn.as_ref().map(RoleArn::as_str), Some("arn:aws:iam::123456789012:role/web"));
    }

    #[test]
    fn what_is_no_set_is_told() {
        assert_eq!(parse_session(b" "), Err(DocumentError::Empty));
        assert!(matches!(parse_session(b"<html>"), Err(DocumentError::Json { .. })));
        assert_eq!(parse_session(b"{}"), Err(DocumentError::Missing("credentialSet")));
        assert_eq!(parse_session(br#"{"credentialSet":[]}"#), Err(DocumentError::Missing("credentialSet")));
        for field in ["accessKeyId", "secretAccessKey", "sessionToken", "expiration"] {
            let wanting = GOOD.replace(field, "x");
            assert_eq!(parse_session(wanting.as_bytes()), Err(DocumentError::Missing(field)), "{field}");
        }
        assert_eq!(
            parse_session(GOOD.replace("IQoJ", "\\n").as_bytes()),
            Err(DocumentError::Characters("sessionToken"))
        );
    }

    fn refused(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> SourceError {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("ASCII")));
        let now = "2026-11-24T10:00:00Z".parse().expect("a time");
        let status = StatusCode::from_u16(status).expect("a status");
        refusal("https://x/sessions", status, &headers.collect(), body.as_bytes(), " (…)", now)
    }

    #[test]
    fn the_services_word_is_final_and_keeps_what_is_held() {
        let body = r#"{"message":"Untrusted certificate. Insufficient certificate"}"#;
        let error = refused(403, &[("x-amzn-errortype", "AccessDeniedException:http://internal/")], body);
        let text = "AccessDeniedException: Untrusted certificate. Insufficient certificate";
        let kind = ErrorKind::Refused { code: NOT_AUTHORISED.into(), message: text.into(), withdraws: false };
        assert_eq!(error.kind, kind);
        assert_eq!(error.message, format!("POST https://x/sessions: the answer is 403 Forbidden: {text}"));
        let error = refused(404, &[], r#"{"__type":"com.amazonaws#ResourceNotFoundException","Message":"no profile"}"#);
        assert!(matches!(error.kind, ErrorKind::Refused { code, .. } if code == "ResourceNotFoundException"));
        let error = refused(400, &[], r#"{"code":"ValidationException"}"#);
        assert!(matches!(error.kind, ErrorKind::Refused { message, .. } if message == "ValidationException"));
    }

    #[test]
    fn throttling_outages_and_strangers_say_nothing() {
        for (status, body) in [
            (400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#),
            (429, r#"{"__type":"TooManyRequestsException"}"#),
            (500, r#"{"__type":"InternalServerException"}"#),
            (503, r#"{"__type":"AccessDeniedException"}"#),
            (403, "<html>the proxy does not let you</html>"),
            (404, ""),
            (301, ""),
        ] {
            assert_eq!(refused(status, &[], body).kind, ErrorKind::Transient, "{status} {body}");
        }
    }

    #[test]
    fn a_wrong_clock_is_named() {
        let body = r#"{"__type":"AccessDeniedException","message":"Signature expired"}"#;
        let date = |date| refused(403, &[("date", date)], body).message;
        assert!(date("Tue, 24 Nov 2026 10:10:00 GMT").ends_with(
            "Signature expired; this host's clock is 600 s behind the service's, which makes signatures invalid"
        ));
        assert!(date("Tue, 24 Nov 2026 09:50:00 GMT").contains("600 s ahead of"));
        for harmless in ["Tue, 24 Nov 2026 10:04:00 GMT", "yesterday"] {
            assert!(!date(harmless).contains("clock"), "{harmless}");
        }
    }
}
