//! The marked block in a configuration of the AWS SDKs, and what is around it (pure).

use std::path::Path;

/// The first line of the block begins with this.
const BEGIN: &str = "# >>> alppaca profiles write >>>";
/// Its last line.
const END: &str = "# <<< alppaca profiles write <<<";
/// At the end of the first line, if the text before had no end of line, which is taken away with the block.
const JOINED: &str = " (joined)";
/// What the first line says to people.
const NOTE: &str = " written by alppaca; changes are lost";

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) name: String,
    /// Its `credential_process`.
    pub(super) process: String,
    pub(super) region: Option<String>,
}

/// What is before and after the block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split<'a> {
    before: &'a [u8],
    after: &'a [u8],
}

/// Why a block cannot be told from the rest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

impl<'a> Split<'a> {
    /// Finds the block.
    pub(super) fn of(text: &'a [u8]) -> Result<Self, Damage> {
        let (mut position, mut begin, mut end) = (0, None, None);
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let content = line.trim_ascii_end();
            let damage = |what| Err(Damage { line: index + 1, what });
            if content.starts_with(BEGIN.as_bytes()) {
                if begin.is_some() {
                    return damage("the block of alppaca begins a second time; take one away");
                }
                begin = Some((position, index + 1, content.ends_with(JOINED.as_bytes())));
            } else if content == END.as_bytes() {
                if begin.is_none() || end.is_some() {
                    return damage("the block of alppaca ends, and has not begun; take this line away");
                }
                end = Some(position + line.len());
            }
            position += line.len();
        }
        match (begin, end) {
            (None, _) => Ok(Self { before: text, after: &[] }),
            (Some((_, line, _)), None) => {
                Err(Damage { line, what: "the block of alppaca begins, and does not end; take it away" })
            }
            (Some((begin, _, joined)), Some(end)) => {
                let before = text.get(..begin).unwrap_or_default();
                let before = if joined { before.strip_suffix(b"\n").unwrap_or(before) } else { before };
                Ok(Self { before, after: text.get(end..).unwrap_or_default() })
            }
        }
    }

    /// The text without a block.
    pub(super) fn without(&self) -> Vec<u8> {
        let apart = self.before.is_empty() || self.before.ends_with(b"\n") || self.after.is_empty();
        [self.before, if apart { b"" } else { b"\n" }, self.after].concat()
    }

    /// The text with this block where the old one was, or at the end.
    pub(super) fn with(&self, block: &str) -> Vec<u8> {
        if self.before.is_empty() || self.before.ends_with(b"\n") {
            return [self.before, block.as_bytes(), self.after].concat();
        }
        let block = block.replacen(NOTE, &format!("{NOTE}{JOINED}"), 1);
        [self.before, b"\n", block.as_bytes(), self.after].concat()
    }
}

/// The block.
pub(super) fn render(profiles: &[Profile]) -> String {
    let mut lines = vec![format!("{BEGIN}{NOTE}")];
    for profile in profiles {
        lines.push(format!("[profile {}]", profile.name));
        lines.push(format!("credential_process = {}", profile.process));
        lines.extend(profile.region.as_ref().map(|region| format!("region = {region}")));
    }
    lines.extend([END.to_owned(), String::new()]);
    lines.join("\n")
}

/// What the SDKs run; they take it apart as a shell would.
pub(super) fn command_line(program: &Path, role: &str, socket: Option<&Path>) -> String {
    let mut words = vec![quoted(&program.to_string_lossy()), "credentials".to_owned(), role.to_owned()];
    words.extend(socket.map(|socket| format!("--socket {}", quoted(&socket.to_string_lossy()))));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_.,@+-".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn profile(name: &str) -> Profile {
        Profile { name: name.into(), process: format!("/usr/bin/alppaca credentials {name}"), region: None }
    }

    #[test]
    fn a_block_has_a_profile_for_each_role() {
        let with_region = Profile { region: Some("eu-west-1".into()), ..profile("b") };
        let text = render(&[profile("a"), with_region]);
        assert_eq!(
            text,
            "# >>> alppaca profiles write >>> written by alppaca; changes are lost\n[profile a]\n\
             credential_process = /usr/bin/alppaca credentials a\n[profile b]\n\
             credential_process = /usr/bin/alppaca credentials b\nregion = eu-west-1\n\
             # <<< alppaca profiles write <<<\n"
        );
    }

    #[test]
    fn a_damaged_block_is_named_with_its_line() {
        let text = |lines: &[&str]| lines.join("\n").into_bytes();
        for (lines, line) in [(&["x", BEGIN][..], 2), (&[END], 1), (&[BEGIN, BEGIN, END], 2), (&[BEGIN, END, END], 3)] {
            assert_eq!(Split::of(&text(lines)).expect_err("damaged").line, line, "{lines:?}");
        }
    }

    #[test]
    fn words_with_spaces_are_quoted_as_the_sdks_read_them() {
        let line = command_line(Path::new("/opt/a b/alppaca"), "web", Some(Path::new("/run/x.sock")));
        assert_eq!(line, "\"/opt/a b/alppaca\" credentials web --socket /run/x.sock");
        let words = alppaca_settings::words::split_words(&line).expect("closed");
        assert_eq!(words.first().map(String::as_str), Some("/opt/a b/alppaca"));
    }

    proptest! {
        #[test]
        fn what_is_around_the_block_stays_as_it_is(before in "[a\\[\\]#\r\n é]{0,30}", after in "[b\\[\\]#\r\n]{0,30}") {
            let (old, new) = (render(&[profile("x")]), render(&[profile("a"), profile("b")]));
            let nothing = Split { before: before.as_bytes(), after: &[] };
            let with_block = [nothing.with(&old), after.clone().into_bytes()].concat();
            let split = Split::of(&with_block).expect("one block");
            prop_assert_eq!(split.before, before.as_bytes());
            prop_assert_eq!(split.after, after.as_bytes());
            let replaced = split.with(&new);
            let again = Split::of(&replaced).expect("one block");
            prop_assert_eq!(again.with(&new), replaced.clone());
            let apart = before.is_empty() || before.ends_with('\n') || after.is_empty();
            let between = if apart { "" } else { "\n" };
            prop_assert_eq!(again.without(), format!("{before}{between}{after}").into_bytes());
        }
    }
}
