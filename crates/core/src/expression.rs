//! A regular expression that has to match the whole of a text. Pure.

use std::collections::BTreeMap;

use regex_lite::{Error, Regex, RegexBuilder};

/// A compiled expression takes at most so many bytes.
const MAX_SIZE: usize = 1024 * 1024;

/// A regular expression that has to match the whole of a text, with each of its alternatives.
#[derive(Debug, Clone)]
pub struct Expression {
    written: String,
    regex: Regex,
}

impl Expression {
    /// Compiles `written`, with an anchor at both ends.
    pub fn new(written: &str) -> Result<Self, Error> {
        let compile = |text: &str| RegexBuilder::new(text).size_limit(MAX_SIZE).build();
        // First by itself, so that no parenthesis in it can close ours.
        compile(written)?;
        let regex = compile(&format!(r"\A(?:{written})\z"))?;
        Ok(Self { written: written.to_owned(), regex })
    }

    /// Whether it matches the whole of `text`.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The names of its captures.
    pub fn capture_names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }

    /// What its named captures hold if it matches the whole of `text`; one that took no part is empty.
    pub fn captures(&self, text: &str) -> Option<BTreeMap<String, String>> {
        let found = self.regex.captures(text)?;
        let value = |name: &str| found.name(name).map_or("", |part| part.as_str()).to_owned();
        Some(self.capture_names().map(|name| (name.to_owned(), value(name))).collect())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_to_match_the_whole_text_with_each_alternative() {
        let expression = Expression::new("a|b").expect("an expression");
        assert!(expression.matches("a") && expression.matches("b"));
        assert!(!expression.matches("ax") && !expression.matches("xb") && !expression.matches("a\n"));
        assert!(Expression::new("a)|(?:b").is_err());
        assert!(Expression::new("(?:(?:a{100}){100}){100}").is_err(), "too large");
    }

    #[test]
    fn captures_have_their_names() {
        let expression = Expression::new("(?<user>[a-z]+)(@(?<realm>.*))?").expect("an expression");
        let captures = expression.captures("ann").expect("it matches");
        assert_eq!((captures["user"].as_str(), captures["realm"].as_str()), ("ann", ""));
        assert_eq!(expression.captures("7"), None);
    }
}
