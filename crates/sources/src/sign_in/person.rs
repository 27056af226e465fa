//! Who has signed in, as the ID token says it (pure).

use jiff::Timestamp;
use serde_json::Value;

use super::Failure;
use crate::{jwt::Claims, text::printable};

/// The claims that name a person, the best for people first.
const NAMES: [&str; 4] = ["preferred_username", "email", "name", "sub"];
/// The most groups that are shown.
const MAX_GROUPS: usize = 200;

/// Who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name for people; empty if the provider does not say it.
    pub name: String,
    /// The name that the provider never gives to another (`sub`).
    pub subject: String,
    /// The groups, if the token has them.
    pub groups: Vec<String>,
    /// When the ID token ends.
    pub until: Timestamp,
}

impl Person {
    /// The name, for a message.
    pub(super) fn called(&self) -> &str {
        if self.name.is_empty() { "a person" } else { &self.name }
    }

    /// The person of verified claims.
    pub(super) fn of(claims: &Claims) -> Result<Self, Failure> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(|text| printable(text, 200));
        let wrong = |what: &str| Failure::Wrong(format!("the provider's ID token has no {what}"));
        let groups = claims.get("groups").and_then(Value::as_array).into_iter().flatten();
        let groups = groups.filter_map(Value::as_str).take(MAX_GROUPS).map(|group| printable(group, 200));
        let end = claims.get("exp").and_then(Value::as_f64).ok_or_else(|| wrong("end"))?;
        #[expect(clippy::cast_possible_truncation, reason = "beyond the range it is refused")]
        let until = Timestamp::from_second(end as i64).map_err(|_| wrong("end that is a time"))?;
        Ok(Self {
            name: NAMES.iter().find_map(|name| text(name).filter(|name| !name.is_empty())).unwrap_or_default(),
            subject: text("sub").ok_or_else(|| wrong("subject"))?,
            groups: groups.collect(),
            until,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_has_the_best_name_and_an_end() {
        let claims = |value: serde_json::Value| value.as_object().expect("a map").clone();
        let person = Person::of(&claims(serde_json::json!({
            "sub": "248289", "email": "alice@example.com", "groups": ["a", 1, "b\u{1b}[2J"], "exp": 1_763_892_000.0
        })))
        .expect("a person");
        assert_eq!((person.name.as_str(), person.subject.as_str()), ("alice@example.com", "248289"));
        assert_eq!(person.groups, ["a", "b [2J"]);
        assert!(Person::of(&claims(serde_json::json!({"sub": "x"}))).is_err());
        assert!(Person::of(&claims(serde_json::json!({"sub": "x", "exp": 1e300}))).is_err());
    }
}
