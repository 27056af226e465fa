//! The names that a proof may hold, in one spelling each.

use std::fmt::Write as _;

use crate::text::printable;

/// A DNS name in lower case and without the dot at its end; `None` if it is no host name, such as one with a wildcard
/// or a NUL.
pub(crate) fn host(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let legal = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let fits = name.len() <= 253 && name.split('.').all(legal) && !is_number(name.rsplit('.').next()?);
    fits.then(|| name.to_ascii_lowercase())
}

/// Whether the last label makes a name an address in the eyes of a resolver, which confirms any address by itself.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Whether a text is a URI as a certificate may name one: a scheme, and printable ASCII without blanks or quotation.
pub(crate) fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'"' | b'<' | b'>' | b'\\' | b'`');
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !rest.is_empty()
        && text.len() <= 2048
        && text.bytes().all(legal)
}

/// The trust domain of the SPIFFE ID of a workload; `None` if the text is not one.
/// <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md#2-spiffe-identity>
pub(crate) fn trust_domain(id: &str) -> Option<&str> {
    let (domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let in_domain = |byte: u8| in_path(byte) && !byte.is_ascii_uppercase();
    let segment = |text: &str| !matches!(text, "" | "." | "..") && text.bytes().all(in_path);
    let legal = id.len() <= 2048
        && (1..=255).contains(&domain.len())
        && domain.bytes().all(in_domain)
        && path.split('/').all(segment);
    legal.then_some(domain)
}

/// A text of the client for a message: short, in quotation marks, nothing hidden.
pub(crate) fn shown(text: &str) -> String {
    format!("{:?}", printable(text, 80))
}

/// Bytes as digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        assert_eq!(host("Web1.Example.COM.").as_deref(), Some("web1.example.com"));
        let long = "a".repeat(64);
        for name in ["", ".", "*.example.com", "a*.b", "a\0.b", "a..b", "-a", "a-", "a b", "ä.b", "a.b..", &long] {
            assert_eq!(host(name), None, "{name:?}");
        }
        for name in ["192.0.2.1", "1", "127.1", "0x7f.0x1", "0X7F000001", "web.1."] {
            assert_eq!(host(name), None, "{name:?} is an address");
        }
    }

    #[test]
    fn a_spiffe_id_is_exact() {
        assert_eq!(trust_domain("spiffe://example.org/ns/prod/sa/web"), Some("example.org"));
        for id in [
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org/a//b",
            "spiffe://example.org/../b",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/%61",
            "spiffe://Example.org/a",
            "SPIFFE://example.org/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org:1/a",
            "spiffe:///a",
            "https://example.org/a",
        ] {
            assert_eq!(trust_domain(id), None, "{id}");
        }
    }

    #[test]
    fn a_uri_has_a_scheme_and_nothing_hidden() {
        assert!(is_uri("urn:host:web1") && is_uri("https://a/b?c=d"));
        for text in ["", "a", ":a", "1a:b", "a:", "a:b c", "a:\0", "a:*", "a:\u{7f}", "spiffe://é"] {
            assert!(!is_uri(text), "{text:?}");
        }
    }
}
