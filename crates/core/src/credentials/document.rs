//! The JSON document of one set of credentials, as EC2's IMDS writes it and as an IMS sends it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::{Credentials, Secret, SecretBytes, format_timestamp, parse_timestamp};

/// What is wrong with a document. No variant carries text of the document, which may be secret,
/// except the code and message of a refusal, cut and cleaned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// There is no document at all.
    #[error("the document is empty")]
    Empty,
    /// Not JSON, or JSON that is not an object of the expected shape.
    #[error("the document is not the expected JSON object (line {line}, column {column})")]
    Json {
        /// Line of the document, from 1.
        line: usize,
        /// Column of that line, from 1.
        column: usize,
    },
    /// Well-formed, but it says that there are no credentials.
    #[error("the document says {code:?}{}", message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
    Refusal {
        /// Its `Code`, such as `AssumeRoleUnauthorizedAccess`.
        code: String,
        /// Its `Message`.
        message: Option<String>,
    },
    /// A required field is absent or empty.
    #[error("the document has no {0}")]
    Missing(&'static str),
    /// A field has a value that would break the clients or a header.
    #[error("the document's {0} has characters that are not allowed there")]
    Characters(&'static str),
    /// `Expiration` is not a moment.
    #[error("the document's Expiration is not an ISO 8601 time with a zone")]
    Expiration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire<'a> {
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow)]
    access_key_id: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "secret")]
    secret_access_key: Option<Zeroizing<String>>,
    #[serde(default, deserialize_with = "secret")]
    token: Option<Zeroizing<String>>,
    #[serde(borrow)]
    expiration: Option<Cow<'a, str>>,
    #[serde(borrow)]
    last_updated: Option<Cow<'a, str>>,
    #[serde(borrow)]
    account_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role_arn: Option<Cow<'a, str>>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Zeroizing::new))
}

/// Reads the document of an IMS or of EC2's IMDS. `Code` may be absent (the 2015 tool's upstreams
/// left it out); if it is there it must be `Success`. Unknown fields are ignored. Whether the set
/// has already expired is not judged here.
pub fn parse_document(body: &[u8]) -> Result<Credentials, DocumentError> {
    if body.trim_ascii().is_empty() {
        return Err(DocumentError::Empty);
    }
    let wire: Wire = serde_json::from_slice(body)
        .map_err(|error| DocumentError::Json { line: error.line(), column: error.column() })?;
    if let Some(code) = wire.code.filter(|code| code != "Success") {
        return Err(DocumentError::Refusal {
            code: clean(&code, 64),
            message: wire.message.map(|message| clean(&message, 256)),
        });
    }
    let access_key_id = required("AccessKeyId", wire.access_key_id)?;
    let secret_access_key = required("SecretAccessKey", wire.secret_access_key.as_deref().map(Into::into))?;
    let session_token = required("Token", wire.token.as_deref().map(Into::into))?;
    let expiration = wire.expiration.filter(|text| !text.is_empty()).ok_or(DocumentError::Missing("Expiration"))?;
    Ok(Credentials {
        expiration: parse_timestamp(&expiration).ok_or(DocumentError::Expiration)?,
        life: None,
        // A bad LastUpdated would break minio-go, and nothing depends on the upstream's own.
        last_updated: wire.last_updated.as_deref().and_then(parse_timestamp),
        access_key_id: access_key_id.into_owned(),
        secret_access_key: Secret::new(&*secret_access_key),
        session_token: Secret::new(&*session_token),
        // Extras that only the container protocols return: a malformed one is treated as absent.
        account_id: wire.account_id.and_then(|id| id.parse().ok()),
        role_arn: wire.role_arn.and_then(|arn| arn.parse().ok()),
    })
}

/// Keys and tokens become header values in the clients, so they are printable ASCII without quotes
/// and backslashes: then rendering needs no escapes, which naive parsers (s3fs, GDAL) do not know.
fn required<'a>(field: &'static str, value: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, DocumentError> {
    let value = value.filter(|text| !text.is_empty()).ok_or(DocumentError::Missing(field))?;
    if is_key_text(&value) { Ok(value) } else { Err(DocumentError::Characters(field)) }
}

/// Whether a text can be a key or a token: printable ASCII without quotes and backslashes, and not empty.
pub fn is_key_text(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !text.is_empty() && text.bytes().all(allowed)
}

fn clean(text: &str, limit: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit).collect()
}

/// Writes the document as EC2 does: two spaces of indent, ` : ` between key and value, seven keys
/// in this order, no final newline. Nothing else may be added: s3fs counts the keys it knows.
pub fn render_document(credentials: &Credentials, last_updated: Timestamp) -> SecretBytes {
    let fields = [
        ("Code", "Success"),
        ("LastUpdated", &format_timestamp(last_updated)),
        ("Type", "AWS-HMAC"),
        ("AccessKeyId", &credentials.access_key_id),
        ("SecretAccessKey", credentials.secret_access_key.expose()),
        ("Token", credentials.session_token.expose()),
        ("Expiration", &format_timestamp(credentials.expiration)),
    ];
    SecretBytes::new(render(&fields))
}

/// Writes the document with which EC2 says that it may not assume the role: 200, a `Code` and a
/// `Message`, and no keys.
pub fn render_refusal(code: &str, message: &str, last_updated: Timestamp) -> Vec<u8> {
    let quoted = |text: &str| clean(text, 256).replace(['"', '\\'], "'");
    render(&[("Code", &quoted(code)), ("Message", &quoted(message)), ("LastUpdated", &format_timestamp(last_updated))])
}

/// The document that [`render_document`] wrote, with one more field at its end.
pub fn extend_document(document: &SecretBytes, key: &str, value: &str) -> SecretBytes {
    let text = document.expose();
    let body = text.strip_suffix(b"\n}").unwrap_or(text);
    let mut extended = Vec::with_capacity(text.len() + key.len() + value.len() + 11);
    for part in [body, b",\n  \"", key.as_bytes(), b"\" : \"", value.as_bytes(), b"\"\n}"] {
        extended.extend_from_slice(part);
    }
    SecretBytes::new(extended)
}

/// A field of a document that [`render_document`] or [`render_refusal`] wrote: their values have no quotes in them.
pub fn document_field<'a>(document: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let head = [b"\"", key.as_bytes(), b"\" : \""].concat();
    let start = document.windows(head.len()).position(|part| part == head)? + head.len();
    let rest = document.get(start..)?;
    rest.get(..rest.iter().position(|byte| *byte == b'"')?)
}

fn render(fields: &[(&str, &str)]) -> Vec<u8> {
    let length = 4 + fields.iter().map(|(key, value)| key.len() + value.len() + 11).sum::<usize>();
    // Exactly sized: a buffer that grows would leave unwiped copies of the secrets behind.
    let mut text = Vec::with_capacity(length);
    for (index, (key, value)) in fields.iter().enumerate() {
        text.extend_from_slice(if index == 0 { b"{\n" } else { b",\n" });
        for part in ["  \"", key, "\" : \"", value, "\""] {
            text.extend_from_slice(part.as_bytes());
        }
    }
    text.extend_from_slice(b"\n}");
    debug_assert!(text.len() <= length);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"Code":"Success","LastUpdated":"2026-11-23T09:00:00Z","Type":"AWS-HMAC",
        "AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"wJalr/+=","Token":"IQoJ//=","Expiration":"2026-11-23T10:00:00Z"}"#;

    #[test]
    fn what_is_rendered_reads_as_what_was_parsed() {
        let credentials = parse_document(GOOD.as_bytes()).expect("a good document");
        let text = render_document(&credentials, credentials.last_updated.expect("given"));
        assert_eq!(
            std::str::from_utf8(text.expose()).expect("ASCII"),
            "{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"2026-11-23T09:00:00Z\",\n  \
             \"Type\" : \"AWS-HMAC\",\n  \"AccessKeyId\" : \"ASIAEXAMPLE\",\n  \
             \"SecretAccessKey\" : \"wJalr/+=\",\n  \"Token\" : \"IQoJ//=\",\n  \
             \"Expiration\" : \"2026-11-23T10:00:00Z\"\n}"
        );
        assert_eq!(parse_document(text.expose()), Ok(credentials));
    }

    #[test]
    fn an_absent_code_means_success() {
        let document = GOOD.replace(r#""Code":"Success","#, "");
        assert!(parse_document(document.as_bytes()).is_ok());
    }

    #[test]
    fn each_defect_has_its_own_error() {
        let cases: &[(&str, &str, DocumentError)] = &[
            ("ASIAEXAMPLE", "", DocumentError::Missing("AccessKeyId")),
            ("wJalr/+=", "", DocumentError::Missing("SecretAccessKey")),
            ("\"Token\"", "\"Tokem\"", DocumentError::Missing("Token")),
            ("IQoJ//=", "a\\nb", DocumentError::Characters("Token")),
            ("2026-11-23T10:00:00Z", "soon", DocumentError::Expiration),
            ("2026-11-23T10:00:00Z", "", DocumentError::Missing("Expiration")),
            ("Success", "Failed", DocumentError::Refusal { code: "Failed".into(), message: None }),
        ];
        for (from, to, error) in cases {
            assert_eq!(parse_document(GOOD.replace(from, to).as_bytes()).as_ref(), Err(error), "{to}");
        }
        assert_eq!(parse_document(b" \n"), Err(DocumentError::Empty));
        for body in ["<html>", "[]", "null", "\"x\"", "{", "{} x", &GOOD.replace("\"ASIAEXAMPLE\"", "1")] {
            assert!(matches!(parse_document(body.as_bytes()), Err(DocumentError::Json { .. })), "{body}");
        }
    }

    #[test]
    fn a_refusal_is_valid_json_whatever_the_upstream_said() {
        let text = render_refusal("A\"b\\", "line\nbreak", Timestamp::UNIX_EPOCH);
        let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(value["Code"], "A'b'");
        assert_eq!(value["Message"], "line break");
    }
}
