//! What STS takes of a session: which characters, and how many.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>

use std::ops::RangeInclusive;

/// How long the name of a session, and a source identity, may be.
pub const SESSION_NAME_LENGTHS: RangeInclusive<usize> = 2..=64;
/// The most tags of one session.
pub const MAX_TAGS: usize = 50;

const EXTERNAL_ID_LENGTHS: RangeInclusive<usize> = 2..=1224;
const MAX_TAG_KEY: usize = 128;
const MAX_TAG_VALUE: usize = 256;

/// Why a text cannot be part of a session tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// The key has illegal characters, or too many or none.
    #[error("the key of a tag has 1 to 128 letters, digits, spaces and _ . : / = + - @")]
    Key,
    /// The key is one of those that AWS keeps for itself.
    #[error("the key of a tag does not begin with aws:")]
    Reserved,
    /// The value has illegal characters, or too many.
    #[error("the value of a tag has up to 256 letters, digits, spaces and _ . : / = + - @")]
    Value,
}

/// Whether the names of roles and of sessions, and source identities, may have this character: `[\w+=,.@-]`.
pub fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

/// Whether a text can be the name of a session, or a source identity.
pub fn is_session_name(text: &str) -> bool {
    SESSION_NAME_LENGTHS.contains(&text.len()) && text.chars().all(is_name_character)
}

/// Whether a text can be an external id: `[\w+=,.@:\/-]*`.
pub fn is_external_id(text: &str) -> bool {
    EXTERNAL_ID_LENGTHS.contains(&text.len()) && text.chars().all(|c| is_name_character(c) || ":/".contains(c))
}

/// Checks the key of a session tag.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html>
pub fn check_tag_key(key: &str) -> Result<(), TagError> {
    if key.is_empty() || !is_of_tag(key, MAX_TAG_KEY) {
        return Err(TagError::Key);
    }
    let reserved = key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
    if reserved { Err(TagError::Reserved) } else { Ok(()) }
}

/// Checks the value of a session tag.
pub fn check_tag_value(value: &str) -> Result<(), TagError> {
    if is_of_tag(value, MAX_TAG_VALUE) { Ok(()) } else { Err(TagError::Value) }
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`; separators are the white space that is no control character.
fn is_of_tag(text: &str, longest: usize) -> bool {
    let legal = |c: char| c.is_alphanumeric() || c.is_whitespace() && !c.is_control() || "_.:/=+-@".contains(c);
    text.chars().count() <= longest && text.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_external_ids_have_their_characters_and_lengths() {
        for (text, name, external) in [
            ("a", false, false),
            ("ab", true, true),
            ("a_+=,.@-Z9", true, true),
            ("a:/b", false, true),
            ("a b", false, false),
            ("äb", false, false),
            (&"x".repeat(64), true, true),
            (&"x".repeat(65), false, true),
            (&"x".repeat(1224), false, true),
            (&"x".repeat(1225), false, false),
        ] {
            assert_eq!((is_session_name(text), is_external_id(text)), (name, external), "{text}");
        }
    }

    #[test]
    fn tags_have_letters_of_any_language_and_no_control_characters() {
        for (key, result) in [
            ("", Err(TagError::Key)),
            ("Größe/n 1:=+-@_.", Ok(())),
            ("a\u{a0}b", Ok(())),
            ("a\tb", Err(TagError::Key)),
            ("a,b", Err(TagError::Key)),
            ("AWS:x", Err(TagError::Reserved)),
            ("aws", Ok(())),
            (&"ä".repeat(128), Ok(())),
            (&"ä".repeat(129), Err(TagError::Key)),
        ] {
            assert_eq!(check_tag_key(key), result, "{key:?}");
        }
        for (value, result) in [
            ("", Ok(())),
            ("aws:x", Ok(())),
            ("a#b", Err(TagError::Value)),
            (&"ä".repeat(256), Ok(())),
            (&"ä".repeat(257), Err(TagError::Value)),
        ] {
            assert_eq!(check_tag_value(value), result, "{value:?}");
        }
    }
}
