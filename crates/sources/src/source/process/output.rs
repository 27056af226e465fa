//! What a `credential_process` prints.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>

use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    credentials::{AccountId, Secret, is_key_text, parse_timestamp},
    fetch::secret,
};

/// The set that a program printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: Secret,
    /// Absent for an IAM user's long-term key.
    pub session_token: Option<Secret>,
    /// Absent if the program does not say when the set ends.
    pub expiration: Option<Timestamp>,
    /// The account, if it says it.
    pub account_id: Option<AccountId>,
}

/// Why an output is no set. None of them shows anything of the output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Nothing at all.
    #[error("it printed nothing")]
    Empty,
    /// Not JSON, or not of that form.
    #[error("its output is not the JSON of a credential_process (line {line}, column {column})")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// Another version than 1, or none.
    #[error("it printed no \"Version\": 1, the only version there is")]
    Version,
    /// A field that has to be there.
    #[error("it printed no {0}")]
    Missing(&'static str),
    /// A field with characters that AWS never uses.
    #[error("its {0} has illegal characters")]
    Characters(&'static str),
    /// An end that is no moment with a time zone.
    #[error("its Expiration is not a time such as 2026-11-23T10:00:00Z")]
    Expiration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    version: Option<serde_json::Value>,
    access_key_id: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    secret_access_key: Option<Zeroizing<String>>,
    #[serde(default, deserialize_with = "secret")]
    session_token: Option<Zeroizing<String>>,
    expiration: Option<String>,
    account_id: Option<String>,
}

/// Reads the output of a `credential_process`. Unknown fields are ignored, as every SDK does.
pub fn parse_output(output: &[u8]) -> Result<Printed, OutputError> {
    if output.trim_ascii().is_empty() {
        return Err(OutputError::Empty);
    }
    let wire: Wire = serde_json::from_slice(output)
        .map_err(|error| OutputError::Json { line: error.line(), column: error.column() })?;
    if wire.version.and_then(|version| version.as_u64()) != Some(1) {
        return Err(OutputError::Version);
    }
    let filled = |text: &str| !text.is_empty();
    let access_key_id = wire.access_key_id.filter(|text| filled(text)).ok_or(OutputError::Missing("AccessKeyId"))?;
    let secret = wire.secret_access_key.filter(|text| filled(text)).ok_or(OutputError::Missing("SecretAccessKey"))?;
    let token = wire.session_token.filter(|text| filled(text));
    let parts = [
        ("AccessKeyId", Some(access_key_id.as_str())),
        ("SecretAccessKey", Some(secret.as_str())),
        ("SessionToken", token.as_deref().map(String::as_str)),
    ];
    if let Some((field, _)) = parts.iter().find(|(_, text)| text.is_some_and(|text| !is_key_text(text))) {
        return Err(OutputError::Characters(field));
    }
    let expiration = match wire.expiration.filter(|text| filled(text)) {
        Some(text) => Some(parse_timestamp(&text).ok_or(OutputError::Expiration)?),
        None => None,
    };
    Ok(Printed {
        access_key_id,
        secret_access_key: Secret::new(secret.as_str()),
        session_token: token.map(|token| Secret::new(token.as_str())),
        expiration,
        account_id: wire.account_id.and_then(|id| id.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"Version": 1, "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "wJalr/+=",
        "SessionToken": "IQoJ//=", "Expiration": "2026-11-23T10:00:00+00:00", "AccountId": "123456789012", "More": {}}"#;

    #[test]
    fn a_good_output_is_read() {
        let set = parse_output(GOOD.as_bytes()).expect("good");
        assert_eq!((set.access_key_id.as_str(), set.secret_access_key.expose()), ("ASIAEXAMPLE", "wJalr/+="));
        assert_eq!(set.session_token.expect("given").expose(), "IQoJ//=");
        assert_eq!(set.expiration.expect("given").to_string(), "2026-11-23T10:00:00Z");
        assert_eq!(set.account_id.as_ref().map(AccountId::as_str), Some("123456789012"));
    }

    #[test]
    fn token_and_end_may_be_absent() {
        let text = r#"{"Version":1,"AccessKeyId":"AKIA","SecretAccessKey":"s","SessionToken":null,"Expiration":""}"#;
        let set = parse_output(text.as_bytes()).expect("good");
        assert_eq!((set.session_token, set.expiration, set.account_id), (None, None, None));
    }

    #[test]
    fn each_defect_has_its_own_error() {
        for (from, to, error) in [
            ("\"Version\": 1", "\"Version\": 2", OutputError::Version),
            ("\"Version\": 1", "\"Version\": \"1\"", OutputError::Version),
            ("\"Version\": 1,", "", OutputError::Version),
            ("AccessKeyId", "access_key_id", OutputError::Missing("AccessKeyId")),
            ("wJalr/+=", "", OutputError::Missing("SecretAccessKey")),
            ("wJalr/+=", "a b", OutputError::Characters("SecretAccessKey")),
            ("IQoJ//=", "a\\nb", OutputError::Characters("SessionToken")),
            ("2026-11-23T10:00:00+00:00", "soon", OutputError::Expiration),
            ("2026-11-23T10:00:00+00:00", "2026-11-23T10:00:00", OutputError::Expiration),
        ] {
            assert_eq!(parse_output(GOOD.replace(from, to).as_bytes()), Err(error), "{to}");
        }
        assert_eq!(parse_output(b" \n"), Err(OutputError::Empty));
        for text in ["[]", "null", "wJalr", "{", &format!("{GOOD} x"), &GOOD.replace("\"ASIAEXAMPLE\"", "1")] {
            let error = parse_output(text.as_bytes()).expect_err(text);
            assert!(matches!(error, OutputError::Json { .. }) && !error.to_string().contains("wJalr"), "{error}");
        }
    }
}
