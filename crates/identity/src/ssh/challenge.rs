//! Challenges without a state: a MAC shows that this server has given one, and when. Each is taken once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    hmac::{HMAC_SHA256, Key, sign, verify},
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::Refusal;

/// How long a challenge may be answered.
const VALID: Duration = Duration::from_secs(30);
/// The most challenges that are remembered as used. Only proven identities use one.
const MAX_USED: usize = 200_000;

const NONCE: usize = 16;
/// The time in milliseconds since 1970, and a nonce.
const BODY: usize = 8 + NONCE;

/// Gives challenges and takes them back. The key is made at the start and known to nobody else: a challenge of another
/// server, or from before a restart, is not taken.
pub(super) struct Challenges {
    key: Key,
    used: Mutex<HashMap<[u8; BODY], SystemTime>>,
}

/// A challenge that this server has given, and that is still valid.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given([u8; BODY], SystemTime);

impl Challenges {
    pub(super) fn new() -> Result<Self, String> {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        rand::fill(&mut *secret).map_err(|_| "the system has no randomness".to_owned())?;
        Ok(Self { key: Key::new(HMAC_SHA256, &*secret), used: Mutex::default() })
    }

    /// A new one; `None` if the system has no randomness.
    pub(super) fn give(&self, now: SystemTime) -> Option<String> {
        let mut body = [0; BODY];
        let (time, nonce) = body.split_at_mut(8);
        let since = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        time.copy_from_slice(&u64::try_from(since.as_millis()).ok()?.to_be_bytes());
        rand::fill(nonce).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&body[..], sign(&self.key, &body).as_ref()].concat()))
    }

    /// One that comes back.
    pub(super) fn check(&self, challenge: &str, now: SystemTime) -> Result<Given, &'static str> {
        let unknown = "the challenge is not of this server: answer the one in WWW-Authenticate";
        let bytes = URL_SAFE_NO_PAD.decode(challenge).map_err(|_| unknown)?;
        let (body, mac) = bytes.split_first_chunk::<BODY>().ok_or(unknown)?;
        verify(&self.key, body, mac).map_err(|_| unknown)?;
        let mut time = [0; 8];
        time.copy_from_slice(&body[..8]);
        let given = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::from_be_bytes(time));
        let until = given + VALID;
        // Earlier than it was given: the clock was set back.
        if now < given || now >= until {
            return Err("the challenge is too old: answer the one in WWW-Authenticate");
        }
        Ok(Given(*body, until))
    }

    /// Takes it, once.
    pub(super) fn spend(&self, Given(body, until): Given, now: SystemTime) -> Result<(), Refusal> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= MAX_USED {
            used.retain(|_, until| *until > now);
        }
        if used.len() >= MAX_USED {
            return Err(Refusal::Unavailable("too many signatures came within a short time".to_owned()));
        }
        match used.insert(body, until) {
            None => Ok(()),
            Some(_) => Err(Refusal::Refused("the challenge has been answered before".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_of_this_server_short_lived_and_taken_once() {
        let (challenges, other) = (Challenges::new().expect("a key"), Challenges::new().expect("a key"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let challenge = challenges.give(now).expect("one");
        assert_ne!(challenges.give(now).expect("one"), challenge);
        assert!(other.check(&challenge, now).is_err());
        let mut changed = challenge.clone().into_bytes();
        changed[0] ^= 1;
        let changed = String::from_utf8(changed).expect("a text");
        for wrong in ["", "a", "!", &changed, &challenge[1..], &format!("{challenge}AAAA")] {
            assert!(challenges.check(wrong, now).expect_err(wrong).contains("not of this server"));
        }
        for late in [now + VALID, now + 2 * VALID, now - Duration::from_millis(1)] {
            assert!(challenges.check(&challenge, late).expect_err("late").contains("too old"));
        }
        let last = now + VALID - Duration::from_millis(1);
        let given = || challenges.check(&challenge, last).expect("still valid");
        assert_eq!(challenges.spend(given(), last), Ok(()));
        assert!(challenges.spend(given(), last).is_err());
    }
}
