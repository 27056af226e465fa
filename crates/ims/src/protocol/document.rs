//! The document with the credentials, as AFP writes it.

use jiff::Timestamp;

use crate::credentials::{Credentials, SecretBytes, format_timestamp};

/// Credentials, and when STS made them.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The credentials.
    pub credentials: Credentials,
    /// When they were made.
    pub at: Timestamp,
}

/// One line, with these keys in this order. The times have no fraction, which afp-cli cannot read.
pub(super) fn render(issued: &Issued, console_url: Option<&str>) -> SecretBytes {
    let Credentials { access_key_id, secret_access_key, session_token, expiration, .. } = &issued.credentials;
    let (expiration, updated) = (format_timestamp(*expiration), format_timestamp(issued.at));
    // Keys, tokens and times have no characters that JSON would escape; a URL might.
    let console = console_url.map(|url| format!(", \"ConsoleUrl\": {}", super::answer::json(url))).unwrap_or_default();
    let parts = [
        "{\"Code\": \"Success\", \"Type\": \"AWS-HMAC\", \"AccessKeyId\": \"",
        access_key_id,
        "\", \"SecretAccessKey\": \"",
        secret_access_key.expose(),
        "\", \"Token\": \"",
        session_token.expose(),
        "\", \"Expiration\": \"",
        &expiration,
        "\", \"LastUpdated\": \"",
        &updated,
        "\"",
        &console,
        "}",
    ];
    // One allocation, so that no part is left behind in memory that is not wiped.
    let mut text = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        text.extend_from_slice(part.as_bytes());
    }
    SecretBytes::new(text)
}
