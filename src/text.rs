//! Foreign text made fit for a message: short, printable, in one line, and without secrets.

use std::error::Error;

/// The beginning of a body for an error message, or nothing if there might be a secret in it.
pub(crate) fn snippet(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if may_hold_secret(&text) {
        return " (its text is not shown, as it may hold a secret)".to_owned();
    }
    let text = printable(&text, 80);
    if text.is_empty() { String::new() } else { format!(" ({text:?})") }
}

/// Whether a text that is not what was asked for looks as if there were credentials in it.
pub(crate) fn may_hold_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["secret", "token", "accesskey", "access_key", "password"].iter().any(|word| lower.contains(word))
}

/// At most `limit` characters of a text, its white space and what cannot be shown made single spaces.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let clean = |c: char| if c.is_control() || c == char::REPLACEMENT_CHARACTER { ' ' } else { c };
    let spaced: String = text.chars().take(limit * 8).map(clean).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(limit).collect()
}

/// An error and its causes in one line, without the repetitions that wrappers make.
pub(crate) fn flatten(error: &dyn Error) -> String {
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
    fn causes_are_told_once() {
        let inner = std::io::Error::other("refused");
        let outer = std::io::Error::other(inner);
        assert_eq!(flatten(&outer), "refused");
    }
}
