//! The role list: one name a line.

use std::collections::HashSet;

use super::super::RoleList;
use crate::credentials::RoleName;

/// More roles than anyone has. A longer list is a mistake.
const MAX_ROLES: usize = 10_000;

/// Why a body is no role list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Not text.
    #[error("the role list is not UTF-8 text")]
    NotText,
    /// Not a single line is a role name.
    #[error("the answer is no role list; it begins with {0:?}")]
    Garbage(String),
    /// Too many lines.
    #[error("the role list has more than {MAX_ROLES} lines")]
    TooLong,
}

/// Reads a role list. Lines may end in CRLF and be surrounded by space; empty ones are skipped. An
/// empty list is one: the upstream has spoken. Lines that are no role name become problems.
pub fn parse_role_list(body: &[u8]) -> Result<RoleList, ListError> {
    let text = std::str::from_utf8(body).map_err(|_| ListError::NotText)?;
    let mut list = RoleList::default();
    let mut seen = HashSet::new();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    for (number, line) in lines.enumerate() {
        if number >= MAX_ROLES {
            return Err(ListError::TooLong);
        }
        match line.parse::<RoleName>() {
            Ok(name) if seen.insert(name.clone()) => list.names.push(name),
            Ok(_repeated) => {}
            Err(error) => list.problems.push(error.to_string().chars().take(200).collect()),
        }
    }
    // A page of HTML may well have a line that happens to be a legal name.
    let looks_like_page = text.trim_start().starts_with(['<', '{', '[']);
    if looks_like_page || (list.names.is_empty() && !list.problems.is_empty()) {
        return Err(ListError::Garbage(text.trim_start().chars().take(40).collect()));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(body: &str) -> Vec<String> {
        let list = parse_role_list(body.as_bytes()).expect("a list");
        list.names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_come_one_a_line_in_any_line_ending() {
        assert_eq!(names("a\nb"), ["a", "b"]);
        assert_eq!(names("a\r\n\r\n b \n\na\n"), ["a", "b"]);
        assert_eq!(names(""), [""; 0]);
        assert_eq!(names(" \n"), [""; 0]);
        assert_eq!(names(&"r\n".repeat(10_000)), ["r"]);
    }

    #[test]
    fn an_illegal_line_is_a_problem_and_the_others_stay() {
        let list = parse_role_list(b"a\nx/y\n..\nb c\nd").expect("a list");
        assert_eq!(list.names.len(), 2);
        assert_eq!(list.problems.len(), 3);
        assert!(list.problems[0].contains("x/y"), "{:?}", list.problems);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for body in ["<html>\nok\n</html>", "{\"a\": 1}", "[]", "Service Unavailable", "x/y"] {
            assert!(matches!(parse_role_list(body.as_bytes()), Err(ListError::Garbage(_))), "{body}");
        }
        assert_eq!(parse_role_list(b"\xff\xfe"), Err(ListError::NotText));
        assert_eq!(parse_role_list("r\n".repeat(10_001).as_bytes()), Err(ListError::TooLong));
    }
}
