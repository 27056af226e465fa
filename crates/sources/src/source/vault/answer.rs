//! What Vault answers: credentials, a login, or errors. Pure.
//!
//! The forms are those of the AWS secrets engine (`builtin/logical/aws/secret_access_keys.go` in hashicorp/vault) and of
//! `logical.LogicalResponseToHTTPResponse` (`sdk/logical/translate_response.go`).

use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    credentials::{Secret, is_key_text},
    fetch::secret,
    text::{may_hold_secret, printable},
};

/// The longest life that is believed: Vault's own longest default lease has 768 h, and a year is beyond anything.
const MAX_LIFETIME: Duration = Duration::from_hours(24 * 366);

/// A set as Vault hands it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: Secret,
    /// Absent for the keys of an IAM user (`creds`).
    pub session_token: Option<Secret>,
    /// How long the set is good, counted from Vault's answer.
    pub lifetime: Duration,
    /// The ARN of the session, if the role is assumed.
    pub arn: Option<String>,
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The token for further calls.
    pub token: Secret,
    /// How long it is good; `None` for one that has no end.
    pub lifetime: Option<Duration>,
}

/// Why a 200 is not what was asked for. None of them shows anything of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Not JSON, or not of that form.
    #[error("the answer is not Vault's JSON (line {line}, column {column})")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A field that has to be there.
    #[error("the answer has no {0}")]
    Missing(&'static str),
    /// A field with characters that no key has.
    #[error("the {0} has illegal characters")]
    Characters(&'static str),
    /// No end, so that nobody would know when to fetch again.
    #[error("the answer has neither lease_duration nor ttl, so the credentials have no expiration")]
    NoEnd,
    /// The answer is a reference to the real one.
    #[error("the answer is wrapped (response wrapping), which is not supported here")]
    Wrapped,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    lease_duration: u64,
    data: Option<Data>,
    auth: Option<Auth>,
    wrap_info: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Data {
    access_key: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    secret_key: Option<Zeroizing<String>>,
    #[serde(default, deserialize_with = "secret")]
    security_token: Option<Zeroizing<String>>,
    /// The newer name of the same.
    #[serde(default, deserialize_with = "secret")]
    session_token: Option<Zeroizing<String>>,
    arn: Option<String>,
    /// In place of a lease, if the mount is configured to make none (`no_lease`).
    ttl: Option<u64>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default, deserialize_with = "secret")]
    client_token: Option<Zeroizing<String>>,
    #[serde(default)]
    lease_duration: u64,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

fn parse(body: &[u8]) -> Result<Wire, AnswerError> {
    let wire: Wire = serde_json::from_slice(body)
        .map_err(|error| AnswerError::Json { line: error.line(), column: error.column() })?;
    if wire.wrap_info.is_some() { Err(AnswerError::Wrapped) } else { Ok(wire) }
}

/// Reads the answer of `sts/ROLE` or `creds/ROLE`.
pub fn parse_credentials(body: &[u8]) -> Result<Issued, AnswerError> {
    let wire = parse(body)?;
    let data = wire.data.ok_or(AnswerError::Missing("data"))?;
    let access_key_id = filled("access_key", data.access_key.as_deref())?;
    let secret = filled("secret_key", data.secret_key.as_deref().map(String::as_str))?;
    let token = [data.security_token, data.session_token].into_iter().flatten().find(|token| !token.is_empty());
    let session_token = match &token {
        Some(token) => Some(Secret::new(filled("security_token", Some(token.as_str()))?)),
        None => None,
    };
    let seconds = match (wire.lease_duration, data.ttl) {
        (0, None | Some(0)) => return Err(AnswerError::NoEnd),
        (0, Some(ttl)) => ttl,
        (lease, _) => lease,
    };
    Ok(Issued {
        access_key_id: access_key_id.to_owned(),
        secret_access_key: Secret::new(secret),
        session_token,
        lifetime: Duration::from_secs(seconds).min(MAX_LIFETIME),
        arn: data.arn.filter(|arn| is_key_text(arn)),
    })
}

/// Reads the answer of `auth/…/login`.
pub fn parse_login(body: &[u8]) -> Result<Login, AnswerError> {
    let auth = parse(body)?.auth.ok_or(AnswerError::Missing("auth"))?;
    let token = filled("client_token", auth.client_token.as_deref().map(String::as_str))?;
    let lifetime = (auth.lease_duration > 0).then(|| Duration::from_secs(auth.lease_duration).min(MAX_LIFETIME));
    Ok(Login { token: Secret::new(token), lifetime })
}

fn filled<'a>(field: &'static str, value: Option<&'a str>) -> Result<&'a str, AnswerError> {
    let value = value.filter(|text| !text.is_empty()).ok_or(AnswerError::Missing(field))?;
    if is_key_text(value) { Ok(value) } else { Err(AnswerError::Characters(field)) }
}

/// What an error's body says, cut and cleaned: `{"errors": ["…"]}`. Empty if it says nothing, or nothing to be shown.
pub fn parse_errors(body: &[u8]) -> String {
    let Ok(Errors { errors }) = serde_json::from_slice(body) else { return String::new() };
    let text = printable(&errors.join("; "), 300);
    // "token" is in most of Vault's sentences about tokens, none of which has one in it.
    if may_hold_secret(&text.replace("token", "")) { String::new() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STS: &str = r#"{"request_id":"r","lease_id":"aws/sts/deploy/x","renewable":false,"lease_duration":3599,
        "data":{"access_key":"ASIAEXAMPLE","secret_key":"wJalr/+=","security_token":"IQoJ//=","arn":"arn:aws:sts::1:x"},
        "wrap_info":null,"warnings":null,"auth":null}"#;

    #[test]
    fn credentials_are_read() {
        let set = parse_credentials(STS.as_bytes()).expect("good");
        assert_eq!((set.access_key_id.as_str(), set.secret_access_key.expose()), ("ASIAEXAMPLE", "wJalr/+="));
        assert_eq!(set.session_token.expect("given").expose(), "IQoJ//=");
        assert_eq!(set.lifetime, Duration::from_secs(3599));
        assert_eq!(set.arn.as_deref(), Some("arn:aws:sts::1:x"));
        let newer = STS.replace("security_token", "session_token");
        assert!(parse_credentials(newer.as_bytes()).expect("good").session_token.is_some());
        let user = STS.replace("\"IQoJ//=\"", "null");
        assert_eq!(parse_credentials(user.as_bytes()).expect("good").session_token, None);
        let no_lease = STS.replace("3599", "0").replace("\"arn\"", "\"ttl\":900,\"arn\"");
        assert_eq!(parse_credentials(no_lease.as_bytes()).expect("good").lifetime, Duration::from_mins(15));
        let endless = STS.replace("3599", "18446744073709551615");
        assert_eq!(parse_credentials(endless.as_bytes()).expect("good").lifetime, MAX_LIFETIME);
    }

    #[test]
    fn each_defect_has_its_own_error() {
        for (from, to, error) in [
            ("3599", "0", AnswerError::NoEnd),
            ("\"data\"", "\"date\"", AnswerError::Missing("data")),
            ("access_key\"", "key\"", AnswerError::Missing("access_key")),
            ("wJalr/+=", "", AnswerError::Missing("secret_key")),
            ("IQoJ//=", "a b", AnswerError::Characters("security_token")),
            ("\"wrap_info\":null", "\"wrap_info\":{}", AnswerError::Wrapped),
        ] {
            assert_eq!(parse_credentials(STS.replace(from, to).as_bytes()), Err(error), "{to}");
        }
        for body in ["", "<html>", "[]", "null", &STS.replace("3599", "-1"), &format!("{STS}x")] {
            assert!(matches!(parse_credentials(body.as_bytes()), Err(AnswerError::Json { .. })), "{body}");
        }
    }

    #[test]
    fn a_login_is_read() {
        let text = r#"{"auth":{"client_token":"hvs.CAES","policies":["p"],"lease_duration":1200,"renewable":true}}"#;
        let login = parse_login(text.as_bytes()).expect("good");
        assert_eq!((login.token.expose(), login.lifetime), ("hvs.CAES", Some(Duration::from_mins(20))));
        let root = parse_login(text.replace("1200", "0").as_bytes()).expect("good");
        assert_eq!(root.lifetime, None);
        assert_eq!(parse_login(STS.as_bytes()), Err(AnswerError::Missing("auth")));
        assert_eq!(parse_login(text.replace("hvs.CAES", "").as_bytes()), Err(AnswerError::Missing("client_token")));
    }

    #[test]
    fn errors_are_told_without_secrets() {
        assert_eq!(parse_errors(br#"{"errors":["permission denied","x\n y"]}"#), "permission denied; x y");
        assert_eq!(parse_errors(br#"{"errors":["missing client token"]}"#), "missing client token");
        assert_eq!(parse_errors(br#"{"errors":["bad secret_id s3cr3t"]}"#), "");
        assert_eq!(parse_errors(b"<html>"), "");
    }
}
