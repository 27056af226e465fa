//! The file of keys and authorities. For hosts it has the form of `known_hosts` (sshd(8)), for people that of
//! `allowed_signers` (ssh-keygen(1)).

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Subjects, key::PublicKey};
use crate::{
    credentials::Pattern,
    lines::{self, LinesError},
    names::host,
};

/// The longest name.
const MAX_NAME: usize = 256;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    /// The names that the owner of a key has, the first one first.
    pub(super) keys: HashMap<Vec<u8>, Vec<String>>,
    /// Which principals count in the certificates of an authority.
    pub(super) authorities: HashMap<Vec<u8>, Vec<Pattern>>,
    /// Keys that count no more, also in certificates or as authorities.
    pub(super) revoked: HashSet<Vec<u8>>,
}

/// What the key of a line is.
enum Meaning {
    Key,
    Authority,
    Revoked,
}

impl Allowed {
    pub(super) fn read(file: &Path, subjects: Subjects) -> Result<Self, LinesError> {
        lines::read(file, |text| Self::parse(text, subjects))
    }

    /// What a text says, or which line is wrong.
    pub(super) fn parse(text: &str, subjects: Subjects) -> Result<Self, (usize, String)> {
        let mut allowed = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                allowed.add(line, subjects).map_err(|cause| (index + 1, cause))?;
            }
        }
        Ok(allowed)
    }

    fn add(&mut self, line: &str, subjects: Subjects) -> Result<(), String> {
        let mut words = line.split_whitespace().peekable();
        let mut meaning = match words.peek() {
            Some(&"@cert-authority") => Meaning::Authority,
            Some(&"@revoked") => Meaning::Revoked,
            Some(word) if word.starts_with('@') => return Err(format!("the marker {word} has no meaning here")),
            _ => Meaning::Key,
        };
        if !matches!(meaning, Meaning::Key) {
            words.next();
        }
        let mut expect = |what: &str| words.next().ok_or(format!("{what} is expected"));
        let names = expect("a list of names")?;
        let mut kind = expect("the type of a key")?;
        if subjects == Subjects::People && !is_kind(kind) {
            if has_authority(kind, subjects)? {
                meaning = Meaning::Authority;
            }
            kind = expect("the type of a key")?;
        }
        let blob = blob(kind, expect("a key in base64")?)?;
        match meaning {
            Meaning::Key => {
                let known = self.keys.entry(blob).or_default();
                for name in names.split(',') {
                    let name = self::name(name, subjects)?;
                    if !known.contains(&name) {
                        known.push(name);
                    }
                }
            }
            Meaning::Authority => {
                let patterns = names.split(',').map(pattern).collect::<Result<Vec<_>, _>>()?;
                self.authorities.entry(blob).or_default().extend(patterns);
            }
            Meaning::Revoked => {
                self.revoked.insert(blob);
            }
        }
        Ok(())
    }
}

pub(super) fn is_kind(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| word.starts_with(prefix))
}

/// The options of a line of `allowed_signers`. Those that restrict a key have to be understood.
fn has_authority(options: &str, subjects: Subjects) -> Result<bool, String> {
    let mut authority = false;
    for option in options.split(',') {
        match option.split_once('=') {
            None if option.eq_ignore_ascii_case("cert-authority") => authority = true,
            Some((key, value)) if key.eq_ignore_ascii_case("namespaces") => {
                if value.trim_matches('"') != subjects.namespace() {
                    let namespace = subjects.namespace();
                    return Err(format!("the namespace is {namespace:?}, so that no other can be allowed here"));
                }
            }
            _ => return Err(format!("the option {option:?} has no meaning here; remove the line or the option")),
        }
    }
    Ok(authority)
}

/// The bytes of a key that could be used.
pub(super) fn blob(kind: &str, text: &str) -> Result<Vec<u8>, String> {
    let blob = STANDARD.decode(text).map_err(|_| "the key is not in base64".to_owned())?;
    let key = PublicKey::parse(&blob).map_err(|error| format!("the key cannot be used: {error}; remove the line"))?;
    if key.kind() == kind { Ok(blob) } else { Err(format!("this is a key of the type {}, not {kind}", key.kind())) }
}

pub(super) fn name(name: &str, subjects: Subjects) -> Result<String, String> {
    if name.starts_with("|1|") {
        return Err("hashed names say of no host which one it is: collect the keys with HashKnownHosts=no".to_owned());
    }
    let wrong = || format!("{name:?} is not the name of one host or person");
    match subjects {
        // An address is a name of a host in known_hosts.
        Subjects::Hosts => host(name)
            .or_else(|| name.parse::<std::net::IpAddr>().ok().map(|address| address.to_canonical().to_string()))
            .ok_or_else(wrong),
        Subjects::People => {
            let legal = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(['*', '?', '!']);
            if legal { Ok(name.to_owned()) } else { Err(wrong()) }
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    if text.is_empty() || text.contains(['?', '!', '|', '[']) {
        return Err(format!("{text:?} is not a pattern of names; `*` stands for any characters"));
    }
    Ok(Pattern::new(text))
}
