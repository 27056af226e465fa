//! The file of hashes: a line each, `NAME SHA256-HEX [until TIME] [once]`.

use std::{path::Path, time::SystemTime};

use jiff::Timestamp;

use crate::{
    clock::system_time,
    lines::{self, LinesError},
    names::hex,
    once::Hash,
};

/// The longest name.
const MAX_NAME: usize = 256;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) hash: Hash,
    pub(super) until: Option<SystemTime>,
    /// For one request; then it has an end.
    pub(super) once: bool,
}

pub(super) fn read(file: &Path) -> Result<Vec<Entry>, LinesError> {
    lines::read(file, parse)
}

/// The entries, or which line is wrong.
fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = parse_line(line).map_err(|cause| (index + 1, cause))?;
        if !seen.insert(entry.hash) {
            return Err((index + 1, "another line has the same secret".to_owned()));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn parse_line(line: &str) -> Result<Entry, String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(hash)) = (words.next(), words.next()) else {
        return Err("NAME and the SHA-256 of its secret are expected".to_owned());
    };
    if !is_name(name) {
        return Err(format!("a name has at most {MAX_NAME} characters"));
    }
    let hash = parse_hash(hash).ok_or("the second word is not a SHA-256: 64 hexadecimal digits are expected")?;
    let mut entry = Entry { name: name.to_owned(), hash, until: None, once: false };
    while let Some(word) = words.next() {
        match word {
            "once" if !entry.once => entry.once = true,
            "until" if entry.until.is_none() => {
                let time = words.next().and_then(|time| time.parse::<Timestamp>().ok());
                let time = time.ok_or("after `until`, a time such as 2026-11-23T10:00:00Z is expected")?;
                entry.until = Some(system_time(time));
            }
            _ => return Err("after the hash, `until TIME` and `once` may stand, each once".to_owned()),
        }
    }
    if entry.once && entry.until.is_none() {
        return Err("`once` needs `until TIME`: what was used is remembered until then".to_owned());
    }
    Ok(entry)
}

fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// Whether it is one word of a line, and not the beginning of a comment.
pub(super) fn is_name(name: &str) -> bool {
    let legal = |c: char| !c.is_whitespace() && !c.is_control();
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(legal) && !name.starts_with('#')
}

pub(super) fn render(name: &str, hash: &Hash, until: Option<Timestamp>, once: bool) -> String {
    let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
    format!("{name} {}{until}{}", hex(hash), if once { " once" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_name_a_hash_and_conditions() {
        let hash = "Ab".repeat(32);
        let text = format!("# hosts\n\n web1 {hash}\nweb2 {} until 2026-11-23T10:00:00Z once\n", "00".repeat(32));
        let entries = parse(&text).expect("right");
        let names: Vec<_> = entries.iter().map(|entry| (&*entry.name, entry.once)).collect();
        assert_eq!(names, [("web1", false), ("web2", true)]);
        assert_eq!((entries[0].hash, entries[0].until), ([0xab; 32], None));
        for (line, cause) in [
            ("web1".to_owned(), "NAME and the SHA-256"),
            (format!("web1 {}", "ab".repeat(31)), "64 hexadecimal digits"),
            (format!("web1 {}", "+f".repeat(32)), "64 hexadecimal digits"),
            (format!("{} {hash}", "n".repeat(257)), "at most 256"),
            (format!("web1 {hash} until"), "a time such as"),
            (format!("web1 {hash} until tomorrow"), "a time such as"),
            (format!("web1 {hash} once"), "`once` needs `until TIME`"),
            (format!("web1 {hash} once once"), "each once"),
            (format!("web1 {hash} forever"), "each once"),
            (format!("web0 {hash}"), "the same secret"),
        ] {
            let (number, found) = parse(&format!("web1 {hash}\n{line}\n")).expect_err(&line);
            assert!(number == 2 && found.contains(cause), "{line}: {found}");
        }
    }
}
