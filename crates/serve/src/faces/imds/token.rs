//! IMDSv2 tokens without a table: each carries its own end and a MAC, so a flood of PUTs costs no
//! memory. After a restart they are still good if the key is, as EC2's are.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use aws_lc_rs::{
    error::Unspecified,
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use subtle::ConstantTimeEq;

use crate::{caller::Owner, clock::BootTime};

/// What a token begins with, so that it looks like EC2's (`AQAAA…`).
const PREFIX: [u8; 4] = [1, 0, 0, 0];
const MAC: usize = 20;
const PAYLOAD: usize = PREFIX.len() + 8 + 8;
const RAW: usize = PAYLOAD + MAC;
/// The longest that a token may be valid: six hours, in seconds.
pub(super) const LONGEST: u32 = 21_600;
/// The length of a token, that of EC2's own.
pub(super) const LENGTH: usize = 56;

/// A token as text.
pub(super) type Token = [u8; LENGTH];

/// What a token is bound to: one is of no use at another listener, nor to another owner. Where neither a policy nor an
/// audit is in force, owners are not looked up, and tokens are bound to [`Owner::Nobody`].
pub(super) type Binding = (u16, Owner);

/// Makes tokens and knows them again.
#[derive(Debug)]
pub struct TokenKey {
    key: hmac::Key,
    /// Makes each token differ from every other.
    counter: AtomicU64,
}

impl TokenKey {
    /// A new random key. Fails only where the system has no randomness.
    pub fn random() -> Result<Self, Unspecified> {
        let random = SystemRandom::new();
        let mut start = [0; 8];
        random.fill(&mut start)?;
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)?;
        Ok(Self { key, counter: AtomicU64::new(u64::from_ne_bytes(start)) })
    }

    /// The key that follows from a `secret` of 32 bytes that was kept, and from what is different after each boot,
    /// because tokens end by the boot clock.
    pub fn from_secret(secret: &[u8], boot: &[u8]) -> Result<Self, Unspecified> {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), boot);
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), ..Self::random()? })
    }

    /// A token that is valid for `seconds` from `now` on, at one listener and for one owner.
    pub(super) fn mint(&self, seconds: u32, binding: Binding, now: BootTime) -> Token {
        let end = (now + Duration::from_secs(seconds.into())).as_millis();
        let serial = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut raw = [0; RAW];
        raw[..4].copy_from_slice(&PREFIX);
        raw[4..12].copy_from_slice(&end.to_be_bytes());
        raw[12..20].copy_from_slice(&serial.to_be_bytes());
        let mac = self.mac(&raw[..PAYLOAD], binding);
        raw[PAYLOAD..].copy_from_slice(&mac);
        let mut text = [0; LENGTH];
        let written = URL_SAFE.encode_slice(raw, &mut text);
        debug_assert_eq!(written, Ok(LENGTH));
        text
    }

    /// How many seconds a token that a client sent is still valid, rounded up; `None` if it is none
    /// of ours, belongs to another listener or owner, or is over.
    pub(super) fn verify(&self, text: &[u8], binding: Binding, now: BootTime) -> Option<u32> {
        // Checked before decoding, so that a long value costs nothing.
        if text.len() != LENGTH {
            return None;
        }
        let mut raw = [0; LENGTH];
        let length = URL_SAFE.decode_slice(text, &mut raw).ok()?;
        let raw = raw.get(..length).filter(|raw| raw.len() == RAW)?;
        let (payload, mac) = raw.split_at(PAYLOAD);
        if !bool::from(self.mac(payload, binding).ct_eq(mac)) {
            return None;
        }
        let end = u64::from_be_bytes(payload.get(4..12)?.try_into().ok()?);
        let left = Some(BootTime::from_millis(end).since(now)).filter(|left| !left.is_zero())?;
        let seconds = u32::try_from(left.as_millis().div_ceil(1000)).ok()?;
        // One that would last for longer than any is of another boot.
        (seconds <= LONGEST).then_some(seconds)
    }

    fn mac(&self, payload: &[u8], (listener, owner): Binding) -> [u8; MAC] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&listener.to_be_bytes());
        // Each kind of owner has a length of its own, so that none can look like another.
        match owner {
            Owner::Nobody => {}
            Owner::User(uid) => context.update(&[&[1], &uid.to_be_bytes()[..]].concat()),
            Owner::Address(IpAddr::V4(address)) => context.update(&[&[2, 0], &address.octets()[..]].concat()),
            Owner::Address(IpAddr::V6(address)) => context.update(&[&[3], &address.octets()[..]].concat()),
        }
        context.update(payload);
        let mut mac = [0; MAC];
        mac.copy_from_slice(&context.sign().as_ref()[..MAC]);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootTime = BootTime::from_uptime(Duration::from_hours(5));

    #[test]
    fn a_token_looks_like_ec2s_and_is_known_again_until_its_end() {
        let key = TokenKey::random().expect("randomness");
        let token = key.mint(10, (0, Owner::Nobody), NOW);
        assert!(token.starts_with(b"AQAAA") && token.ends_with(b"=="), "{}", String::from_utf8_lossy(&token));
        assert_eq!(key.verify(&token, (0, Owner::Nobody), NOW), Some(10));
        assert_eq!(key.verify(&token, (0, Owner::Nobody), NOW + Duration::from_millis(9_999)), Some(1));
        assert_eq!(key.verify(&token, (0, Owner::Nobody), NOW + Duration::from_secs(10)), None);
        assert_ne!(key.mint(10, (0, Owner::Nobody), NOW), token);
    }

    #[test]
    fn a_token_of_another_listener_process_or_making_is_refused() {
        let (key, other) = (TokenKey::random().expect("randomness"), TokenKey::random().expect("randomness"));
        let token = key.mint(21_600, (7, Owner::Nobody), NOW);
        assert_eq!(key.verify(&token, (8, Owner::Nobody), NOW), None);
        assert_eq!(other.verify(&token, (7, Owner::Nobody), NOW), None);
        for text in [&b""[..], b"INVALID", &[b'A'; LENGTH], &[0xff; LENGTH], &token[1..]] {
            assert_eq!(key.verify(text, (7, Owner::Nobody), NOW), None);
        }
    }

    #[test]
    fn a_key_that_was_kept_knows_its_tokens_again_until_the_next_boot() {
        let key = |secret: &[u8], boot: &[u8]| TokenKey::from_secret(secret, boot).expect("randomness");
        let token = key(&[1; 32], b"boot").mint(21_600, (0, Owner::Nobody), NOW);
        assert_eq!(key(&[1; 32], b"boot").verify(&token, (0, Owner::Nobody), NOW), Some(21_600));
        assert_eq!(key(&[2; 32], b"boot").verify(&token, (0, Owner::Nobody), NOW), None);
        assert_eq!(key(&[1; 32], b"next").verify(&token, (0, Owner::Nobody), NOW), None);
        // The boot clock has started again, which nothing else would reveal.
        assert_eq!(key(&[1; 32], b"boot").verify(&token, (0, Owner::Nobody), BootTime::from_millis(1000)), None);
    }

    #[test]
    fn a_token_of_another_owner_is_refused() {
        let key = TokenKey::random().expect("randomness");
        let addresses =
            ["0.0.0.1", "0.0.0.2", "::1", "::"].map(|text| Owner::Address(text.parse().expect("an address")));
        let owners = [&[Owner::Nobody, Owner::User(0), Owner::User(1)][..], &addresses].concat();
        for mine in &owners {
            let token = key.mint(60, (0, *mine), NOW);
            for other in &owners {
                assert_eq!(key.verify(&token, (0, *other), NOW).is_some(), mine == other, "{mine:?} {other:?}");
            }
        }
    }

    #[test]
    fn no_bit_of_a_token_can_be_changed() {
        let key = TokenKey::random().expect("randomness");
        let token = key.mint(60, (0, Owner::Nobody), NOW);
        for place in 0..LENGTH {
            for bit in 0..8 {
                let mut changed = token;
                changed[place] ^= 1 << bit;
                assert_eq!(key.verify(&changed, (0, Owner::Nobody), NOW), None, "byte {place}, bit {bit}");
            }
        }
    }
}
