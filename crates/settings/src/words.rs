//! A command line taken apart as a POSIX shell does, without anything else that a shell does.

/// The words of `text`: separated by white space, with `'…'`, `"…"` and backslashes, as Python's `shlex.split` has it
/// (which is what botocore does with `credential_process`). `None` if a quotation mark is not closed, or a backslash is
/// the last character.
pub fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => match characters.next()? {
                            escaped @ ('"' | '\\') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(characters.next()?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_shlex() {
        // Each checked against `shlex.split`.
        for (text, words) in [
            ("", &[][..]),
            (" /bin/x  -a\tb ", &["/bin/x", "-a", "b"]),
            ("x 'a b' \"c d\" e\\ f", &["x", "a b", "c d", "e f"]),
            ("x '' \"\"", &["x", "", ""]),
            ("a'b'\"c\"d", &["abcd"]),
            (r#"x "a\"b\\c\d" 'e\f'"#, &["x", r#"a"b\c\d"#, r"e\f"]),
            ("x $(id) ; *", &["x", "$(id)", ";", "*"]),
        ] {
            assert_eq!(
                split_words(text).as_deref(),
                Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()).as_deref(),
                "{text}"
            );
        }
        for text in ["'", "x \"a", "x \\"] {
            assert_eq!(split_words(text), None, "{text}");
        }
    }
}
