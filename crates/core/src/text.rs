//! Foreign text made fit for a message: short, printable, in one line, and without secrets; and lengths of time.

mod cut;
mod host;
pub mod page;
mod time;

use std::{error::Error, sync::LazyLock};

pub use cut::Cut;
pub use host::is_harmless_host;
pub use time::time;

use regex_lite::{Captures, Regex};

/// The beginning of a body for an error message, or nothing if there might be a secret in it.
pub fn snippet(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if may_hold_secret(&text) {
        return " (its text is not shown, as it may hold a secret)".to_owned();
    }
    let text = printable(&text, 80);
    if text.is_empty() { String::new() } else { format!(" ({text:?})") }
}

/// Whether a text that is not what was asked for looks as if there were credentials in it.
pub fn may_hold_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["secret", "token", "accesskey", "access_key", "password"].iter().any(|word| lower.contains(word))
}

/// The words before a value that should not be shown.
const TELLTALES: &str = "secret|token|password|passwd|passphrase|pwd|credential|authorization|bearer|cookie|assertion|\\
                         access_?key|api_?key|private_?key|secret_?key|session_?key|otp|pin";

/// The text with `***` for everything that looks like a secret: the value after a word such as `password` with a colon or
/// an equals sign, or of an option of that name; what follows `Bearer`; and long words that look random. A word such as
/// "token" alone is no reason to hide what a person has to know.
pub fn redact(text: &str) -> String {
    static PATTERNS: LazyLock<Option<[Regex; 2]>> = LazyLock::new(|| {
        let name = format!(r"[\w.-]*(?:{TELLTALES})[\w.-]*");
        let before =
            format!(r#"(?:{name}["']?\s*[:=]\s*(?:bearer\s+|basic\s+)?)|(?:(?:^|\s)--?{name}\s+)|(?:\bbearer\s+)"#);
        let value = r#"(?:"[^"]*"?|'[^']*'?|[^\s"',;&]+)"#;
        // A slash is in paths, ARNs and keys, so only a word as long as a key is looked at with it.
        let long = r"[A-Za-z0-9_=+-]{20,}(?:\.[A-Za-z0-9_=+-]{8,})*|[A-Za-z0-9/_=+-]{40,}";
        Some([Regex::new(&format!("(?i)({before}){value}")).ok()?, Regex::new(long).ok()?])
    });
    let Some([assigned, long]) = &*PATTERNS else { return "***".to_owned() };
    let hidden = assigned.replace_all(text, "${1}***");
    let hide = |found: &Captures| {
        let word = found.get(0).map_or("", |word| word.as_str());
        if looks_random(word) { "***".to_owned() } else { word.to_owned() }
    };
    long.replace_all(&hidden, hide).into_owned()
}

/// Letters of both cases and digits in one long word, which names and numbers are not.
fn looks_random(word: &str) -> bool {
    let has = |class: fn(&char) -> bool| word.chars().any(|c| class(&c));
    has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase) && has(char::is_ascii_digit)
}

/// At most `limit` characters of a text, its white space and what cannot be shown made single spaces.
pub fn printable(text: &str, limit: usize) -> String {
    let clean = |c: char| if c.is_control() || c == char::REPLACEMENT_CHARACTER { ' ' } else { c };
    let spaced: String = text.chars().take(limit * 8).map(clean).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(limit).collect()
}

/// An error and its causes in one line, without the repetitions that wrappers make.
pub fn flatten(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_is_short_clean_and_free_of_secrets() {
        assert_eq!(snippet(b"\x1b[31m\n\xff  x"), " (\"[31m x\")");
        assert_eq!(snippet(b""), "");
        assert_eq!(snippet("y".repeat(500).as_bytes()).len(), 80 + " (\"\")".len());
        assert!(!snippet(b"{\"SecretAccessKey\":\"wJalr\"}").contains("wJalr"));
    }

    #[test]
    fn secrets_are_hidden_and_what_a_person_has_to_know_is_not() {
        for (text, shown) in [
            ("the token has expired; log in again", "the token has expired; log in again"),
            (
                "Error loading SSO Token: Token for corp does not exist",
                "Error loading SSO Token: *** for corp does not exist",
            ),
            ("no password in the keyring of /home/me", "no password in the keyring of /home/me"),
            ("SecretAccessKey=wJalr", "SecretAccessKey=***"),
            (r#"{"SecretAccessKey": "wJ alr", "x": 1}"#, r#"{"SecretAccessKey": ***, "x": 1}"#),
            (r#"{"SessionToken":"IQo"#, r#"{"SessionToken":***"#),
            ("+ login --password hunter2 --user me", "+ login --password *** --user me"),
            ("AWS_SESSION_TOKEN='a b' x", "AWS_SESSION_TOKEN=*** x"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            ("key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY is wrong", "key *** is wrong"),
            ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN", "got ***"),
            ("hvs.CAESIJ0QmC4pfVWVrmXFA1q2w3e4r5", "hvs.***"),
            (
                "RequestID: 4f1d2c3b-0000-1111-2222-333344445555, arn:aws:iam::123456789012:role/deploy",
                "RequestID: 4f1d2c3b-0000-1111-2222-333344445555, arn:aws:iam::123456789012:role/deploy",
            ),
            (
                "/usr/lib/python3.11/site-packages/botocore/utils.py",
                "/usr/lib/python3.11/site-packages/botocore/utils.py",
            ),
        ] {
            assert_eq!(redact(text), shown);
        }
    }

    #[test]
    fn causes_are_told_once() {
        let inner = std::io::Error::other("refused");
        let outer = std::io::Error::other(inner);
        assert_eq!(flatten(&outer), "refused");
    }
}
