//! `kind: static`: keys that somebody has written down.

use std::sync::Arc;

use super::{SecretText, Settings, StaticKeys};
use crate::{
    credentials::{Secret, is_key_text, parse_timestamp},
    needs::Needs,
    refresh::CallLimit,
    settings::{
        Fields, Keys, NamedFiles, Node, Problem, Rendered, Setting,
        read::{self, render_duration},
        render::quoted,
    },
    source::{
        host_env::HostEnv,
        kind::{Kind, One, Opened, Opening, Provides, Written},
        long_term::{LIFETIME, SERVE_LONG_TERM, lifetime},
    },
};

/// The keys, and who gets them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Options {
    /// The keys.
    pub keys: Settings,
    /// Whether clients get keys without a session token (`serve_long_term`).
    pub serve_long_term: bool,
}

const SETTINGS: [Setting; 8] = [
    Setting::nested("access_key_id", "", "The public half. Required."),
    Setting::nested(
        "secret_access_key",
        "",
        "The secret half. A file is better: this value is visible to every reader of the configuration.",
    ),
    Setting::nested("secret_access_key_file", "", "The file of the secret half, read again each time."),
    Setting::nested("session_token", "", "With it, the keys are temporary; without it, they are those of an IAM user."),
    Setting::nested("session_token_file", "", "The file of the session token, read again each time."),
    Setting::nested("expiration", "", "When the keys expire, such as `2026-11-23T10:00:00Z`."),
    LIFETIME,
    SERVE_LONG_TERM,
];

impl Written for Options {
    const WORD: &'static str = "static";
}

impl Keys for Options {
    const SETTINGS: &'static [Setting] = &SETTINGS;

    fn read(fields: &mut Fields) -> Option<Self> {
        let access_key_id = fields.required("access_key_id", "static keys need an `access_key_id`", |node| {
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
        let keys = Settings {
            access_key_id: access_key_id?,
            secret_access_key: secret??,
            session_token: token?,
            expiration: expiration?,
            assumed_lifetime: lifetime?,
        };
        Some(Self { keys, serve_long_term: serve_long_term? })
    }
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

impl Rendered for Options {
    fn render(&self) -> Vec<(&'static str, String)> {
        let text = |text: &SecretText, given: &'static str, file: &'static str| match text {
            SecretText::Given(_) => (given, quoted("***")),
            SecretText::File(path) => (file, quoted(&path.to_string_lossy())),
        };
        let mut all = vec![
            ("access_key_id", quoted(&self.keys.access_key_id)),
            text(&self.keys.secret_access_key, "secret_access_key", "secret_access_key_file"),
        ];
        all.extend(self.keys.session_token.as_ref().map(|token| text(token, "session_token", "session_token_file")));
        all.extend(self.keys.expiration.map(|end| ("expiration", quoted(&end.to_string()))));
        all.push(("lifetime", render_duration(self.keys.assumed_lifetime)));
        all.push(("serve_long_term", self.serve_long_term.to_string()));
        all
    }
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::One
    }

    fn summary(&self) -> String {
        let kind = if self.keys.session_token.is_some() { "temporary keys" } else { "long-term keys" };
        format!("{kind} {}", self.keys.access_key_id)
    }

    fn call_limit(&self) -> CallLimit {
        CallLimit { concurrency: usize::MAX, rate: None }
    }

    fn serves_long_term(&self) -> bool {
        self.serve_long_term
    }

    fn files(&self, _: &HostEnv, files: &mut NamedFiles) {
        for text in [Some(&self.keys.secret_access_key), self.keys.session_token.as_ref()].into_iter().flatten() {
            if let SecretText::File(path) = text {
                files.secret("a file of its keys", Some(path));
            }
        }
    }

    fn needs(&self, _: &HostEnv, _: &mut Needs) {}

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let keys = StaticKeys::new(self.keys.clone(), opening.host_env.clock.clone());
        Ok(Arc::new(One(Arc::new(keys.map_err(|error| error.to_string())?))))
    }
}
