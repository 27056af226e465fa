//! Credentials made up at random, in the shape and size of real ones.

use std::{io, time::Duration};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;

/// The alphabet of access key ids.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// How session tokens begin (`origin_ec` in base 64).
const TOKEN_START: &str = "IQoJb3JpZ2luX2Vj";

/// One set that a mock IMS made. Its parts open no door, so they are plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The role it was issued for.
    pub role: String,
    /// `ASIA`, `M` and 15 more characters; never the same twice.
    pub access_key_id: String,
    /// 40 characters.
    pub secret_access_key: String,
    /// Some 900 characters.
    pub session_token: String,
    /// When it ends.
    pub expiration: Timestamp,
}

impl Issued {
    /// A new set for `role`, valid for `lifetime` from now.
    pub(super) fn new(role: &str, lifetime: Duration) -> io::Result<Self> {
        let mut id = random::<16>()?.map(|byte| char::from(BASE32[usize::from(byte % 32)]));
        // As ids of the old generation: those of the new one contain an account, and there is none here.
        id[0] = 'M';
        Ok(Self {
            role: role.to_owned(),
            access_key_id: format!("ASIA{}", String::from_iter(id)),
            secret_access_key: BASE64_STANDARD.encode(random::<30>()?),
            session_token: format!("{TOKEN_START}{}", BASE64_STANDARD.encode(random::<666>()?)),
            expiration: now().checked_add(lifetime).unwrap_or(Timestamp::MAX),
        })
    }

    /// The document as the mock of 2015 wrote it, with the text `expiration`.
    pub(super) fn document(&self, expiration: &str) -> String {
        format!(
            "\n{{\"Code\": \"Success\",\n\"AccessKeyId\": \"{}\",\n\"SecretAccessKey\": \"{}\",\n\"Token\": \"{}\",\n\
             \"Expiration\": \"{expiration}\",\n\"Type\": \"AWS-HMAC\"}}\n",
            self.access_key_id, self.secret_access_key, self.session_token
        )
    }
}

/// The IMS's own idea of the time.
#[allow(clippy::disallowed_methods, reason = "an IMS is another host, with a clock of its own")]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// Random bytes.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the kernel has no random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{format_timestamp, parse_document};

    #[test]
    fn sets_look_like_real_ones_and_are_never_the_same() {
        let [one, two] = [(); 2].map(|()| Issued::new("role", Duration::from_mins(1)).expect("randomness"));
        assert_ne!(one.access_key_id, two.access_key_id);
        assert_ne!(one.secret_access_key, two.secret_access_key);
        assert_ne!(one.session_token, two.session_token);
        assert_eq!((one.access_key_id.len(), one.secret_access_key.len()), (20, 40));
        assert!((800..1_000).contains(&one.session_token.len()), "{}", one.session_token.len());
        let credentials =
            parse_document(one.document(&format_timestamp(one.expiration)).as_bytes()).expect("a document");
        assert_eq!(credentials.access_key_id, one.access_key_id);
        assert_eq!(credentials.secret_access_key.expose(), one.secret_access_key);
        assert_eq!(credentials.session_token.expose(), one.session_token);
    }
}
