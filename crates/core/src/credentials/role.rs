//! Role names, checked once so that no other module meets an illegal one, and the ids of roles.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use super::is_name_character;

/// The longest role name that IAM allows.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html>
const MAX_LENGTH: usize = 64;

/// The name of a role: 1 to 64 characters of `A-Z a-z 0-9 _ + = , . @ -`, and neither `.` nor `..`,
/// so that it is always exactly one segment of a URL path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleName(Arc<str>);

/// Why a text is not a role name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleNameError {
    /// Nothing there.
    #[error("a role name is empty")]
    Empty,
    /// Longer than IAM allows.
    #[error("a role name has {0} characters; at most {MAX_LENGTH} are allowed")]
    TooLong(usize),
    /// A character that no role name may have.
    #[error("role name {name:?} has the illegal character {character:?}")]
    Character {
        /// The whole text.
        name: String,
        /// Its first illegal character.
        character: char,
    },
    /// `.` or `..`, which mean something else in a path.
    #[error("role name {0:?} is a relative path")]
    RelativePath(String),
}

impl RoleName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoleName {
    type Err = RoleNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let length = text.chars().count();
        if length == 0 {
            return Err(RoleNameError::Empty);
        }
        if length > MAX_LENGTH {
            return Err(RoleNameError::TooLong(length));
        }
        if let Some(character) = text.chars().find(|c| !is_name_character(*c)) {
            return Err(RoleNameError::Character { name: text.to_owned(), character });
        }
        if text == "." || text == ".." {
            return Err(RoleNameError::RelativePath(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

/// The id of a role. For a role that has a name of its own that is the name; for one that was made on demand it is a
/// text that holds every input of the call that gets its credentials, so that no caller receives a set
/// that was made for other inputs. Never shown to clients.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleId(Arc<str>);

impl RoleId {
    /// The id of a role that has its name for itself. Takes no memory of its own.
    pub fn named(name: &RoleName) -> Self {
        Self(Arc::clone(&name.0))
    }

    /// The id of what is made from `inputs`, in this order, under the heading `kind`. It equals no id of another kind
    /// or other inputs, and no name.
    pub fn from_inputs(kind: &str, inputs: &[(&str, &str)]) -> Self {
        // Quoted, so that no value can look like the next input. A name has no colon.
        let inputs: Vec<String> = inputs.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        Self(format!("{kind}: {}", inputs.join(" ")).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&RoleName> for RoleId {
    fn from(name: &RoleName) -> Self {
        Self::named(name)
    }
}

impl Borrow<str> for RoleId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for RoleName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_iam_allows_are_accepted() {
        for name in ["test_role", "a", "A+b=c,d.e@f-g", &"x".repeat(64)] {
            assert_eq!(name.parse::<RoleName>().map(|r| r.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn ids_differ_if_any_input_does() {
        let id = |inputs: &[(&str, &str)]| RoleId::from_inputs("assumed", inputs);
        let ids = [
            id(&[("arn", "a"), ("external", "")]),
            id(&[("arn", "a"), ("external", "b")]),
            id(&[("arn", "a\" external=\"b")]),
            RoleId::from_inputs("other", &[("arn", "a"), ("external", "")]),
            RoleId::named(&"a".parse().expect("a name")),
        ];
        let unique: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
        assert_eq!(ids[0], id(&[("arn", "a"), ("external", "")]));
    }

    #[test]
    fn names_that_could_leave_their_place_in_a_path_are_refused() {
        for name in ["", ".", "..", "a/b", "../x", "a b", "a\n", "a%2f", "ä", "<html>", &"x".repeat(65)] {
            assert!(name.parse::<RoleName>().is_err(), "{name:?}");
        }
    }
}
