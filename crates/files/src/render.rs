//! What stands in a file (pure). Cut out of the documents in the store, where no value has white space, quotation marks or
//! backslashes in it.

use crate::{
    credentials::{AccountId, SecretBytes, document_field, format_timestamp},
    file::{Format, Profile},
    store::Published,
};

/// What a file of ours begins with, in each format.
const MARK: &str = "# Written by alppaca";
const HEAD: &[u8] = b"# Written by alppaca, which replaces this file: changes are lost.\n";
const JSON_MARK: &str = "{\"WrittenBy\":\"alppaca\",";

/// Characters that mean themselves to a shell, to systemd and to Docker. All that AWS gives is made of these.
const PLAIN: &str = "/+=_.,:@%-";

/// The text of a file with these sets, each in its profile.
pub(crate) fn render(format: Format, sets: &[(&Profile, &Published)]) -> SecretBytes {
    let mut parts: Vec<&[u8]> = Vec::new();
    let rendered: Vec<Rendered> = sets.iter().map(|(profile, set)| Rendered::new(profile, set)).collect();
    if format != Format::Process {
        parts.push(HEAD);
    }
    for one in &rendered {
        match format {
            Format::Credentials => one.profile(&mut parts),
            Format::Env => one.variables(&mut parts),
            Format::Process => one.process(&mut parts),
        }
    }
    // Exactly sized: a buffer that grows would leave unwiped copies of the secrets behind.
    SecretBytes::new(parts.concat())
}

/// Whether a text is that of a file of ours.
pub(crate) fn is_ours(text: &[u8]) -> bool {
    [MARK, JSON_MARK].iter().any(|mark| text.starts_with(mark.as_bytes()))
}

/// The values of a set, as parts of a text.
struct Rendered<'a> {
    profile: &'a Profile,
    key: &'a str,
    secret: &'a [u8],
    /// Empty for long-term keys.
    token: &'a [u8],
    expiration: String,
    account: Option<AccountId>,
}

impl<'a> Rendered<'a> {
    fn new(profile: &'a Profile, set: &'a Published) -> Self {
        let stored = |key| document_field(set.document().expose(), key).unwrap_or_default();
        Self {
            profile,
            key: &set.access_key_id,
            secret: stored("SecretAccessKey"),
            token: stored("Token"),
            expiration: format_timestamp(set.expiration),
            account: set.account_id,
        }
    }

    fn account(&self) -> &[u8] {
        self.account.as_ref().map_or(&[], |account| account.as_str().as_bytes())
    }

    /// A profile of a shared credentials file. The SDKs leave out keys that they do not know: `x_security_token_expires` is
    /// read by tools for people, such as prompts.
    fn profile<'b>(&'b self, parts: &mut Vec<&'b [u8]>) {
        let Profile { name, role } = self.profile;
        for part in ["\n# role ", role.as_str(), "\n[", name, "]\n"] {
            parts.push(part.as_bytes());
        }
        for (key, value) in [
            ("aws_access_key_id", self.key.as_bytes()),
            ("aws_secret_access_key", self.secret),
            ("aws_session_token", self.token),
            ("aws_account_id", self.account()),
            ("x_security_token_expires", self.expiration.as_bytes()),
        ] {
            // After white space these begin a comment.
            let equals: &[u8] = if matches!(value.first(), Some(b'#' | b';')) { b"=" } else { b" = " };
            if !value.is_empty() {
                parts.extend([key.as_bytes(), equals, value, b"\n"]);
            }
        }
    }

    /// Variables for a shell, systemd's `EnvironmentFile=`, and, where nothing has to be quoted, Docker's `--env-file`.
    fn variables<'b>(&'b self, parts: &mut Vec<&'b [u8]>) {
        let role = self.profile.role.as_str();
        for part in ["# role ", role, "\n"] {
            parts.push(part.as_bytes());
        }
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID=", self.key.as_bytes()),
            ("AWS_SECRET_ACCESS_KEY=", self.secret),
            ("AWS_SESSION_TOKEN=", self.token),
            ("AWS_ACCOUNT_ID=", self.account()),
            ("AWS_CREDENTIAL_EXPIRATION=", self.expiration.as_bytes()),
        ] {
            if !value.is_empty() {
                parts.push(name.as_bytes());
                quote(value, parts);
                parts.push(b"\n");
            }
        }
    }

    /// What a `credential_process` prints.
    fn process<'b>(&'b self, parts: &mut Vec<&'b [u8]>) {
        parts.extend([JSON_MARK.as_bytes(), b"\"Version\":1"]);
        for (name, value) in [
            (&b",\"AccessKeyId\":\""[..], self.key.as_bytes()),
            (b",\"SecretAccessKey\":\"", self.secret),
            (b",\"SessionToken\":\"", self.token),
            (b",\"Expiration\":\"", self.expiration.as_bytes()),
            (b",\"AccountId\":\"", self.account()),
        ] {
            if !value.is_empty() {
                parts.extend([name, value, b"\""]);
            }
        }
        parts.push(b"}\n");
    }
}

/// A value as a word of a shell.
fn quote<'a>(value: &'a [u8], parts: &mut Vec<&'a [u8]>) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || PLAIN.as_bytes().contains(byte);
    if value.iter().all(is_plain) {
        parts.push(value);
        return;
    }
    // Single quotation marks, since nothing but themselves has a meaning between them; those stand between double ones.
    for (index, piece) in value.split(|byte| *byte == b'\'').enumerate() {
        if index > 0 {
            parts.push(b"\"'\"");
        }
        if !piece.is_empty() {
            parts.extend([&b"'"[..], piece, b"'"]);
        }
    }
}

#[cfg(test)]
mod tests;
