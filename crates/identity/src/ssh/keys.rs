//! SSH keys of people that are not in a file, such as those of a directory. One that cannot be used hides no other.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Subjects,
    allowed::{blob, is_kind, name as checked_name},
    key::PublicKey,
};

/// Keys with the names of their owners.
#[derive(Debug, Default)]
pub struct Keys(HashMap<Vec<u8>, Vec<String>>);

impl Keys {
    /// Adds a key of somebody: a line as in `authorized_keys` (sshd(8)) without options, or the base64 of a key alone.
    pub fn add(&mut self, owner: &str, text: &str) -> Result<(), String> {
        let owner = checked_name(owner, Subjects::People)?;
        let mut words = text.split_whitespace();
        let first = words.next().ok_or("there is no key")?;
        let key = match words.next() {
            Some(key) if is_kind(first) => blob(first, key)?,
            Some(_) => return Err("it has options, which have no meaning here".to_owned()),
            None => {
                let key = STANDARD.decode(first).map_err(|_| "the key is not in base64")?;
                PublicKey::parse(&key).map_err(|error| error.to_string())?;
                key
            }
        };
        let owners = self.0.entry(key).or_default();
        if !owners.contains(&owner) {
            owners.push(owner);
        }
        Ok(())
    }

    /// Who has this key.
    pub fn owners(&self, key: &[u8]) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaYWJjZGVm";

    #[test]
    fn a_key_is_a_line_or_its_base64() {
        let mut keys = Keys::default();
        keys.add("alice", &format!("ssh-ed25519 {KEY} alice@laptop")).expect("a line");
        keys.add("alice", KEY).expect("base64");
        keys.add("bob", &format!(" {KEY}\n")).expect("the same key");
        assert_eq!(keys.owners(&STANDARD.decode(KEY).expect("base64")), ["alice", "bob"]);
        assert!(keys.owners(b"other").is_empty());
        for (owner, text, problem) in [
            ("alice", String::new(), "there is no key"),
            ("alice", "!".to_owned(), "not in base64"),
            ("alice", "AAAA".to_owned(), "ends too early"),
            ("alice", format!("from=\"10.0.0.0/8\" ssh-ed25519 {KEY}"), "options"),
            ("alice", format!("cert-authority ssh-ed25519 {KEY}"), "options"),
            ("alice", format!("ssh-rsa {KEY}"), "not ssh-rsa"),
            ("al*", KEY.to_owned(), "not the name"),
        ] {
            let found = keys.add(owner, &text).expect_err(&text);
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
