//! What may be a session tag.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html>

/// The most tags of one session.
pub(super) const MAX_TAGS: usize = 50;

/// What is wrong with the key of a tag.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    if key.is_empty() || key.chars().count() > 128 || !key.chars().all(is_legal) {
        return Err("the key of a tag has 1 to 128 letters, digits, spaces and _ . : / = + - @".to_owned());
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err("the key of a tag does not begin with aws:".to_owned());
    }
    Ok(())
}

/// What is wrong with the value of a tag.
pub(super) fn check_value(value: &str) -> Result<(), String> {
    if value.chars().count() > 256 || !value.chars().all(is_legal) {
        return Err("the value of a tag has up to 256 letters, digits, spaces and _ . : / = + - @".to_owned());
    }
    Ok(())
}

fn is_legal(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c)
}
