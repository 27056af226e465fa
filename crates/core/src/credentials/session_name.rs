//! The name of a session, which CloudTrail shows: a template, filled in and made legal.

use std::{fmt, str::FromStr};

use super::{SESSION_NAME_LENGTHS, is_name_character};

/// Takes the place of characters that STS refuses.
const STAND_IN: char = '-';

/// A template such as `alppaca-on-{host}`. `{host}` is this host's name, `{role}` the name under which the role is
/// served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionName(String);

/// What a template is filled in with.
#[derive(Debug, Clone, Copy)]
pub struct SessionFacts<'a> {
    /// This host's name.
    pub host: &'a str,
    /// The name under which the role is served.
    pub role: &'a str,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionNameError {
    /// Nothing there.
    #[error("a session name is empty")]
    Empty,
    /// A brace that does not belong to a place-holder that there is.
    #[error("{{host}} and {{role}} can be filled in, and nothing else in braces")]
    Braces,
}

impl SessionName {
    /// Fills it in and makes it what STS takes: 2 to 64 characters of `A-Z a-z 0-9 _ + = , . @ -`.
    pub fn fill(&self, facts: SessionFacts) -> String {
        let text = self.0.replace("{host}", facts.host).replace("{role}", facts.role);
        let legal = |c: char| if is_name_character(c) { c } else { STAND_IN };
        let mut name: String = text.chars().map(legal).take(*SESSION_NAME_LENGTHS.end()).collect();
        while name.len() < *SESSION_NAME_LENGTHS.start() {
            name.push(STAND_IN);
        }
        name
    }
}

impl Default for SessionName {
    /// The 2015 tool's.
    fn default() -> Self {
        Self("alppaca-on-{host}".to_owned())
    }
}

impl FromStr for SessionName {
    type Err = SessionNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(SessionNameError::Empty);
        }
        if text.replace("{host}", "").replace("{role}", "").contains(['{', '}']) {
            return Err(SessionNameError::Braces);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(template: &str, host: &str) -> String {
        template.parse::<SessionName>().expect("a template").fill(SessionFacts { host, role: "web" })
    }

    #[test]
    fn names_are_filled_in_and_made_legal() {
        assert_eq!(
            SessionName::default().fill(SessionFacts { host: "db1.example", role: "" }),
            "alppaca-on-db1.example"
        );
        assert_eq!(fill("{role}@{host}", "ä/b c"), "web@--b-c");
        assert_eq!(fill("x", ""), "x-");
        assert_eq!(fill("{host}", &"h".repeat(100)).len(), 64);
        for wrong in ["{user}", "{host", "}", "{{host}}"] {
            assert_eq!(wrong.parse::<SessionName>(), Err(SessionNameError::Braces), "{wrong}");
        }
        assert_eq!("".parse::<SessionName>(), Err(SessionNameError::Empty));
    }

    proptest! {
        #[test]
        fn every_name_is_legal(template in "[^{}]{1,80}", host in ".{0,80}") {
            let name = fill(&format!("{template}{{host}}"), &host);
            prop_assert!((2..=64).contains(&name.len()));
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)));
        }
    }
}
