//! The role list: names, one a line.

use std::collections::HashSet;

use crate::{credentials::RoleName, refresh::RoleList, text::may_hold_secret};

/// More lines than this are no role list: IAM allows an account 5,000 roles at most.
const MAX_LINES: usize = 10_000;

/// The number of bad lines that are reported; the rest is only counted.
const MAX_PROBLEMS: usize = 20;

/// Why a body is not a role list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleListError {
    /// It is something else: a web page, JSON, binary data.
    #[error("the answer is not a list of role names")]
    NotAList,
    /// It has no end.
    #[error("the role list has more than {MAX_LINES} lines")]
    TooManyLines,
}

/// Reads a role list. White space around the names, CRLF and blank lines are tolerated, repetitions
/// are dropped. A line that is no role name becomes a sentence in [`RoleList::problems`], unless no
/// line is one. An empty body is an empty list.
pub fn parse_role_list(body: &[u8]) -> Result<RoleList, RoleListError> {
    // Noise, pages and documents can have a line that looks like a role name, and others that are secret.
    let text = std::str::from_utf8(body).map_err(|_| RoleListError::NotAList)?;
    let binary = |c: char| c.is_control() && !c.is_whitespace();
    if text.trim_start().starts_with(['<', '{', '[', '"']) || text.contains(binary) {
        return Err(RoleListError::NotAList);
    }
    let quotable = !may_hold_secret(text);
    let mut list = RoleList::default();
    let mut seen = HashSet::new();
    let mut bad = 0;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    for (count, (index, line)) in lines.enumerate() {
        if count == MAX_LINES {
            return Err(RoleListError::TooManyLines);
        }
        match line.parse::<RoleName>() {
            Ok(name) => {
                if seen.insert(name.clone()) {
                    list.names.push(name);
                }
            }
            Err(error) => {
                bad += 1;
                if bad <= MAX_PROBLEMS {
                    let reason = if quotable { error.to_string() } else { "it is not a role name".to_owned() };
                    list.problems.push(format!("line {} of the role list is ignored: {reason}", index + 1));
                }
            }
        }
    }
    if bad > MAX_PROBLEMS {
        list.problems.push(format!("{} more lines of the role list are ignored", bad - MAX_PROBLEMS));
    }
    if list.names.is_empty() && bad > 0 { Err(RoleListError::NotAList) } else { Ok(list) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(list: &RoleList) -> Vec<&str> {
        list.names.iter().map(RoleName::as_str).collect()
    }

    #[test]
    fn white_space_blank_lines_and_repetitions_do_no_harm() {
        let list = parse_role_list(b"\r\n  one\t\r\n\n two\r\none\n").expect("a list");
        assert_eq!(names(&list), ["one", "two"]);
        assert_eq!(list.problems, Vec::<String>::new());
    }

    #[test]
    fn nothing_but_white_space_is_an_empty_list() {
        for body in ["", "\n", " \r\n\t\r\n"] {
            assert_eq!(parse_role_list(body.as_bytes()), Ok(RoleList::default()), "{body:?}");
        }
    }

    #[test]
    fn a_bad_line_is_reported_and_the_others_stay() {
        let body = format!("good\na/b\n..\n{}\nrole name\n\nfine", "x".repeat(65));
        let list = parse_role_list(body.as_bytes()).expect("a list");
        assert_eq!(names(&list), ["good", "fine"]);
        let expected = ["line 2 ", "line 3 ", "line 4 ", "line 5 "];
        assert_eq!(list.problems.len(), expected.len());
        for (problem, start) in list.problems.iter().zip(expected) {
            assert!(problem.starts_with(start) && problem.contains("role name"), "{problem}");
        }
    }

    #[test]
    fn a_bad_line_that_may_be_secret_is_not_quoted() {
        let list = parse_role_list(b"default\naws_secret_access_key = wJalr").expect("a list");
        assert_eq!(list.problems, ["line 2 of the role list is ignored: it is not a role name"]);
    }

    #[test]
    fn many_bad_lines_do_not_flood_the_log() {
        let list = parse_role_list(format!("good\n{}", "a b\n".repeat(1_000)).as_bytes()).expect("a list");
        assert_eq!(list.problems.len(), MAX_PROBLEMS + 1);
        assert_eq!(list.problems[MAX_PROBLEMS], "980 more lines of the role list are ignored");
    }

    #[test]
    fn pages_documents_and_noise_are_no_lists() {
        for body in [
            "<html>\nLogin\n</html>",
            "{\"Code\":\"Success\"}",
            "{\nrole\n}",
            "[default]\nx",
            "\"role\"",
            "a/b",
            "no role here",
        ] {
            assert_eq!(parse_role_list(body.as_bytes()), Err(RoleListError::NotAList), "{body:?}");
        }
        for noise in [b"\xff\nrole\n".as_slice(), b"\0\nrole\n", b"role\n\x1b[31m"] {
            assert_eq!(parse_role_list(noise), Err(RoleListError::NotAList), "{noise:?}");
        }
    }

    #[test]
    fn a_thousand_roles_are_fine_and_ten_thousand_lines_the_end() {
        let lines = |count: usize| (0..count).map(|n| format!("role{n:060}\n")).collect::<Vec<_>>().concat();
        assert_eq!(parse_role_list(lines(1_000).as_bytes()).expect("a list").names.len(), 1_000);
        assert_eq!(parse_role_list(lines(10_000).as_bytes()).expect("a list").names.len(), 10_000);
        assert_eq!(parse_role_list(lines(10_001).as_bytes()), Err(RoleListError::TooManyLines));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_list_without_repetitions_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(list) = parse_role_list(&body) {
                let unique: HashSet<_> = list.names.iter().collect();
                prop_assert_eq!(unique.len(), list.names.len());
            }
        }
    }
}
