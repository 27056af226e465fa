//! Flags of a command line, as programs in Go read them. Pure.

use std::collections::BTreeMap;

/// The flags of a command, and what is none.
#[derive(Default)]
pub(super) struct Flags {
    values: BTreeMap<String, String>,
    pub(super) unknown: Vec<String>,
}

impl Flags {
    /// Takes the words apart: flags with a name in `values` are followed by a value, those in `switches` are not. Words
    /// before the first flag for which `is_command` holds are the program and its command.
    pub(super) fn parse(
        words: &[String],
        is_command: impl Fn(&str) -> bool,
        values: &[&str],
        switches: &[&str],
    ) -> Self {
        let mut flags = Self::default();
        let mut words = words.iter().map(String::as_str).peekable();
        while let Some(word) = words.next_if(|word| !word.starts_with('-')) {
            if !is_command(word) {
                flags.unknown.push(word.to_owned());
            }
        }
        while let Some(word) = words.next() {
            let flag = word.trim_start_matches('-');
            let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
            if switches.contains(&name) {
                // Go's booleans (`strconv.ParseBool`): `--debug=false`. The last one counts.
                if matches!(value, Some("0" | "f" | "F" | "false" | "FALSE" | "False")) {
                    flags.values.remove(name);
                } else {
                    flags.values.insert(name.to_owned(), String::new());
                }
            } else if values.contains(&name) {
                let value = value.or_else(|| words.next()).unwrap_or_default();
                flags.values.insert(name.to_owned(), value.to_owned());
            } else {
                // Without its value, which may be secret.
                flags.unknown.push(word.split('=').next().unwrap_or_default().to_owned());
                words.next_if(|word| !word.starts_with('-'));
            }
        }
        flags
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
}
