//! Credentials that look like real ones and open nothing.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};

use super::Misbehaviour;
use crate::credentials::format_timestamp;

/// A set that the mock has issued, for tests to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// `ASIA` and 16 characters.
    pub access_key_id: String,
    /// 40 characters.
    pub secret_access_key: String,
    /// 500 characters, as long as AWS's shorter ones.
    pub session_token: String,
}

impl Issued {
    /// A new set.
    pub(super) fn new() -> Self {
        let random = |bytes: usize| {
            let mut raw = vec![0; bytes];
            // Without randomness the sets are alike, which a mock may be; nothing depends on it.
            if SystemRandom::new().fill(&mut raw).is_err() {
                raw.fill(0);
            }
            raw
        };
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let key = random(16).into_iter().map(|byte| char::from(alphabet[usize::from(byte % 32)]));
        Self {
            access_key_id: std::iter::once("ASIA".to_owned()).chain(key.map(String::from)).collect(),
            secret_access_key: STANDARD.encode(random(30)),
            session_token: STANDARD.encode(random(375)),
        }
    }

    /// Its document, as the 2015 mock wrote it, valid until `expiration`.
    pub(super) fn document(&self, now: Timestamp, expiration: Timestamp, wrong: Option<Misbehaviour>) -> String {
        let expiration = format_timestamp(expiration);
        let expiration = match wrong {
            Some(Misbehaviour::BadDate) => "next Tuesday".to_owned(),
            Some(Misbehaviour::FractionalDate) => expiration.replace('Z', ".500Z"),
            Some(Misbehaviour::OffsetDate) => expiration.replace('Z', "+00:00"),
            _ => expiration,
        };
        let token = if wrong == Some(Misbehaviour::MissingField) { "Tokem" } else { "Token" };
        format!(
            "{{\"Code\": \"Success\", \"LastUpdated\": \"{}\", \"Type\": \"AWS-HMAC\", \"AccessKeyId\": \"{}\", \
             \"SecretAccessKey\": \"{}\", \"{token}\": \"{}\", \"Expiration\": \"{expiration}\"}}",
            format_timestamp(now),
            self.access_key_id,
            self.secret_access_key,
            self.session_token,
        )
    }
}
