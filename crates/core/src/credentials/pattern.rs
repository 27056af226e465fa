//! Patterns in which `*` stands for any text: of role ARNs, units, containers, service accounts.

/// A text in which `*` stands for any text, and in a pattern of ARNs `?` for any one character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    question_marks: bool,
}

impl Pattern {
    /// A pattern in which only `*` has a meaning.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), question_marks: false }
    }

    /// A pattern as in a policy of IAM, where `?` stands for any one character.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html>
    pub fn of_arns(text: &str) -> Self {
        Self { text: text.into(), question_marks: true }
    }

    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern stands for the whole text. The time is bounded by the product of the lengths.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.text.as_bytes(), text.as_bytes());
        let (mut at, mut position) = (0, 0);
        // Where to go on after a mismatch: behind the last star, one character later.
        let mut again: Option<(usize, usize)> = None;
        while position < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    again = Some((at + 1, position));
                    at += 1;
                }
                Some(expected) if *expected == text[position] || (self.question_marks && *expected == b'?') => {
                    at += 1;
                    position += 1;
                }
                _ => {
                    let Some((star, from)) = again else { return false };
                    again = Some((star, from + 1));
                    at = star;
                    position = from + 1;
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "a"),
            ("a*", "a"),
            ("a*c", "abc"),
            ("a*b*c", "axbyc"),
            ("abc", "abc"),
            ("*-x", "a-x-x"),
            ("**", ""),
            ("a?c", "a?c"),
        ] {
            assert!(Pattern::new(pattern).matches(text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", "ab"),
            ("a*", "b"),
            ("a*c", "ab"),
            ("ab*ba", "aba"),
            ("*b*b", "b"),
            ("a*b*c", "acb"),
            ("a?c", "abc"),
        ] {
            assert!(!Pattern::new(pattern).matches(text), "{pattern} {text}");
        }
    }

    #[test]
    fn in_a_pattern_of_arns_a_question_mark_stands_for_one_character() {
        for (text, fits) in [("abc", true), ("a?c", true), ("ac", false), ("abbc", false)] {
            assert_eq!(Pattern::of_arns("a?c").matches(text), fits, "{text}");
        }
    }

    /// The definition, and exponential.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => slowly(rest, text),
            (Some((b'*', rest)), Some((_, later))) => slowly(rest, text) || slowly(pattern, later),
            (Some((first, rest)), Some((letter, later))) => (*first == b'?' || first == letter) && slowly(rest, later),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_as_the_definition_does(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(Pattern::of_arns(&pattern).matches(&text), slowly(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
