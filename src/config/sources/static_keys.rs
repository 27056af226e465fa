//! `kind: static`: keys that somebody has written down.

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;

use super::{
    Kind, SourceKind,
    process::{LIFETIME, SERVE_LONG_TERM, lifetime},
    required, setting,
};
use crate::credentials::{Secret, is_key_text, parse_timestamp};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read::{self, render_duration},
    render::quoted,
    yaml::Node,
};

/// Where a secret stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretText {
    /// In the configuration.
    Given(Secret),
    /// In a file.
    File(PathBuf),
}

/// The keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticKeys {
    /// `access_key_id`.
    pub access_key_id: String,
    /// `secret_access_key` or `secret_access_key_file`.
    pub secret_access_key: SecretText,
    /// `session_token` or `session_token_file`.
    pub session_token: Option<SecretText>,
    /// `expiration`.
    pub expiration: Option<Timestamp>,
    /// How long a set without an end is taken to be good (`lifetime`).
    pub lifetime: Duration,
    /// Whether clients get keys without a session token (`serve_long_term`).
    pub serve_long_term: bool,
}

pub(in crate::config) const KIND: Kind = Kind {
    word: "static",
    settings: &SETTINGS,
    read: |fields| read_static(fields).map(|keys| SourceKind::Static(Box::new(keys))),
};

const SETTINGS: [Setting; 8] = [
    setting("access_key_id", "", "The public half. Required."),
    setting(
        "secret_access_key",
        "",
        "The secret half. A file is better: this value is visible to every reader of the configuration.",
    ),
    setting("secret_access_key_file", "", "The file of the secret half, read again each time."),
    setting("session_token", "", "With it, the keys are temporary; without it, they are those of an IAM user."),
    setting("session_token_file", "", "The file of the session token, read again each time."),
    setting("expiration", "", "When the keys expire, such as `2026-11-23T10:00:00Z`."),
    LIFETIME,
    SERVE_LONG_TERM,
];

fn read_static(fields: &mut Fields) -> Option<StaticKeys> {
    let access_key_id = required(fields, "access_key_id", "static keys need an `access_key_id`", |node| {
        let text = read::text(node)?;
        if is_key_text(&text) {
            Ok(text)
        } else {
            Err(Problem::new(node.place.clone(), "these characters are not allowed in a key"))
        }
    });
    let secret = secret(fields, "secret_access_key", "secret_access_key_file");
    if let Some(None) = secret {
        let message = "static keys need a `secret_access_key_file` (or `secret_access_key`)";
        fields.problems.push(Problem::nowhere(message));
    }
    let token = self::secret(fields, "session_token", "session_token_file");
    let expiration = fields.optional("expiration", |node| {
        parse_timestamp(&read::text(node)?)
            .ok_or_else(|| Problem::new(node.place.clone(), "a time such as 2026-11-23T10:00:00Z is expected here"))
    });
    let lifetime = fields.value("lifetime", lifetime);
    let serve_long_term = fields.value("serve_long_term", read::boolean);
    Some(StaticKeys {
        access_key_id: access_key_id?,
        secret_access_key: secret??,
        session_token: token?,
        expiration: expiration?,
        lifetime: lifetime?,
        serve_long_term: serve_long_term?,
    })
}

#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
fn secret(fields: &mut Fields, key: &str, file_key: &str) -> Option<Option<SecretText>> {
    fields.exclude(file_key, &[key]);
    let given = fields.optional(key, |node: &Node| {
        let text = Secret::new(read::text(node)?);
        let message = "these characters are not allowed in a key";
        let fine = is_key_text(text.expose());
        if fine { Ok(text) } else { Err(Problem::new(node.place.clone(), message).without_line()) }
    });
    let file = fields.optional(file_key, read::path);
    Some(given?.map(SecretText::Given).or(file?.map(SecretText::File)))
}

pub(super) fn render(keys: &StaticKeys) -> Vec<(&'static str, String)> {
    let text = |text: &SecretText, given: &'static str, file: &'static str| match text {
        SecretText::Given(_) => (given, quoted("***")),
        SecretText::File(path) => (file, quoted(&path.to_string_lossy())),
    };
    let mut all = vec![
        ("access_key_id", quoted(&keys.access_key_id)),
        text(&keys.secret_access_key, "secret_access_key", "secret_access_key_file"),
    ];
    all.extend(keys.session_token.as_ref().map(|token| text(token, "session_token", "session_token_file")));
    all.extend(keys.expiration.map(|end| ("expiration", quoted(&end.to_string()))));
    all.push(("lifetime", render_duration(keys.lifetime)));
    all.push(("serve_long_term", keys.serve_long_term.to_string()));
    all
}

impl StaticKeys {
    /// In a few words.
    pub(in crate::config) fn summary(&self) -> String {
        let kind = if self.session_token.is_some() { "temporary keys" } else { "long-term keys" };
        format!("{kind} {}", self.access_key_id)
    }
}
