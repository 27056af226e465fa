//! Who may ask the container face for which role: by a token in `Authorization`, or by the id in
//! `/v2/credentials/ID`. Both are kept only as MACs with a key of this process: looking one up takes the same time
//! whatever is sent, and memory shows none of them.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::{
    digest,
    error::Unspecified,
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    clock::BootTime,
    credentials::{RoleId, Secret},
};

/// How many tokens that were made here may be valid at the same time.
const MAX_ISSUED: usize = 4096;
/// The most that is looked up; a head has at most twice that.
const MAX_LENGTH: usize = 8192;
/// The random bytes of a token.
const RANDOM: usize = 32;

/// What opens a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// The value of `Authorization`.
    Token,
    /// The last segment of `/v2/credentials/ID`.
    Id,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The maximum number of valid tokens is reached.
    #[error("{MAX_ISSUED} tokens are in use already")]
    Full,
    /// The system has no randomness.
    #[error("the system provides no random numbers")]
    Randomness,
}

impl From<Unspecified> for IssueError {
    fn from(_: Unspecified) -> Self {
        Self::Randomness
    }
}

/// Identifies a token and grants nothing: its SHA-256.
pub type Fingerprint = [u8; 32];

type Mac = [u8; 32];

/// Until when a key opens its role, or `None`: until its file says otherwise.
type End = Option<BootTime>;

/// Those that were made here.
type Issued = HashMap<Mac, (RoleId, BootTime)>;

/// Those that stand, or stood, in files; by the number of the file.
type Configured = HashMap<Mac, (RoleId, usize, End)>;

/// The tokens and ids that are valid now. Clones share them.
#[derive(Clone)]
pub struct EcsTokens {
    key: hmac::Key,
    issued: Arc<Mutex<Issued>>,
    configured: Arc<Mutex<Configured>>,
}

impl fmt::Debug for EcsTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcsTokens")
    }
}

impl EcsTokens {
    /// None yet. Fails only where the system has no randomness.
    pub fn new() -> Result<Self, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key, issued: Arc::default(), configured: Arc::default() })
    }

    /// Those among them that were made here, and will be; none that stand in files.
    #[must_use]
    pub fn issued_only(&self) -> Self {
        Self { configured: Arc::default(), ..self.clone() }
    }

    /// The same, with a table of its own of what stands in files, as it is now: what another configuration changes in it is seen
    /// by the face of that configuration alone.
    #[must_use]
    pub fn with_own_files(&self) -> Self {
        let configured = lock(&self.configured).clone();
        Self { configured: Arc::new(Mutex::new(configured)), ..self.clone() }
    }

    /// Makes a token that opens `role` for `ttl` from `now` on. It is printable ASCII without spaces, and
    /// ends with the process: pass it on in a file (`AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`) that can be written
    /// again.
    pub fn issue(&self, role: &RoleId, ttl: Duration, now: BootTime) -> Result<Secret, IssueError> {
        let mut raw = Zeroizing::new([0; RANDOM]);
        SystemRandom::new().fill(&mut *raw)?;
        let mut token = Zeroizing::new(String::with_capacity(RANDOM.div_ceil(3) * 4));
        URL_SAFE_NO_PAD.encode_string(*raw, &mut token);
        let mut issued = lock(&self.issued);
        issued.retain(|_, (_, end)| *end > now);
        if issued.len() >= MAX_ISSUED {
            return Err(IssueError::Full);
        }
        issued.insert(self.mac(Key::Token, token.as_bytes()), (role.clone(), now + ttl));
        Ok(Secret::new(token.as_str()))
    }

    /// The fingerprint of a token.
    pub fn fingerprint(token: &Secret) -> Fingerprint {
        sha256(token.expose().as_bytes())
    }

    /// Lets the token with that fingerprint open `role` until it is withdrawn. It may come from an earlier process.
    pub fn adopt(&self, token: &Fingerprint, role: &RoleId) -> Result<(), IssueError> {
        let mac = self.mac_of(Key::Token, token);
        let mut issued = lock(&self.issued);
        if issued.len() >= MAX_ISSUED && !issued.contains_key(&mac) {
            return Err(IssueError::Full);
        }
        issued.insert(mac, (role.clone(), BootTime::from_uptime(Duration::MAX)));
        Ok(())
    }

    /// Ends the token with that fingerprint.
    pub fn withdraw(&self, token: &Fingerprint) {
        lock(&self.issued).remove(&self.mac_of(Key::Token, token));
    }

    /// Whether a token opens any role at the moment `now`.
    pub fn opens(&self, token: &[u8], now: BootTime) -> bool {
        self.role(Key::Token, token, now).is_some()
    }

    /// Ends a token that was made here before its time.
    pub fn revoke(&self, token: &Secret) {
        lock(&self.issued).remove(&self.mac(Key::Token, token.expose().as_bytes()));
    }

    /// The role that a key opens at the moment `now`.
    pub(crate) fn role(&self, kind: Key, key: &[u8], now: BootTime) -> Option<RoleId> {
        if key.is_empty() || key.len() > MAX_LENGTH {
            return None;
        }
        let mac = self.mac(kind, key);
        if let Some((role, end)) = lock(&self.issued).get(&mac) {
            return (*end > now).then(|| role.clone());
        }
        let configured = lock(&self.configured);
        let (role, _, end) = configured.get(&mac)?;
        end.is_none_or(|end| end > now).then(|| role.clone())
    }

    /// Takes over what file number `file` holds now. What it does not hold any more stays valid for `overlap`.
    pub(crate) fn configure(
        &self,
        file: usize,
        (role, kind): (&RoleId, Key),
        keys: &[&[u8]],
        overlap: Duration,
        now: BootTime,
    ) {
        let macs: HashSet<Mac> = keys.iter().map(|key| self.mac(kind, key)).collect();
        let mut configured = lock(&self.configured);
        for (mac, (_, of, end)) in &mut *configured {
            if *of == file && end.is_none() && !macs.contains(mac) {
                *end = Some(now + overlap);
            }
        }
        configured.retain(|_, (_, _, end)| end.is_none_or(|end| end > now));
        for mac in macs {
            configured.insert(mac, (role.clone(), file, None));
        }
    }

    /// Forgets what came from files that are not these any more: `role` says what file number N opens.
    pub(crate) fn keep_files<'a>(&self, role: impl Fn(usize) -> Option<&'a RoleId>) {
        lock(&self.configured).retain(|_, (of, file, _)| role(*file) == Some(&*of));
    }

    fn mac(&self, kind: Key, key: &[u8]) -> Mac {
        self.mac_of(kind, &sha256(key))
    }

    fn mac_of(&self, kind: Key, key: &Fingerprint) -> Mac {
        let mut context = hmac::Context::with_key(&self.key);
        // An id is no token, nor the other way round.
        context.update(match kind {
            Key::Token => b"t",
            Key::Id => b"i",
        });
        context.update(key);
        let mut mac = [0; 32];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the lock can panic half-way.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sha256(bytes: &[u8]) -> Fingerprint {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootTime = BootTime::from_uptime(Duration::from_hours(1));

    fn role(name: &str) -> RoleId {
        RoleId::named(&name.parse().expect("a role name"))
    }

    #[test]
    fn a_token_opens_its_role_until_its_end_or_until_it_is_revoked() {
        let tokens = EcsTokens::new().expect("randomness");
        let token = tokens.issue(&role("a"), Duration::from_secs(10), NOW).expect("room");
        let open = |token: &Secret, now| tokens.role(Key::Token, token.expose().as_bytes(), now);
        assert_eq!(token.expose().len(), 43);
        assert_eq!(open(&token, NOW), Some(role("a")));
        assert_eq!(open(&token, NOW + Duration::from_secs(10)), None);
        assert_eq!(tokens.role(Key::Id, token.expose().as_bytes(), NOW), None);
        for wrong in [&b""[..], b"x", &token.expose().as_bytes()[1..], &[b'x'; MAX_LENGTH + 1]] {
            assert_eq!(tokens.role(Key::Token, wrong, NOW), None);
        }
        tokens.revoke(&token);
        assert_eq!(open(&token, NOW), None);
    }

    #[test]
    fn what_stands_in_files_opens_nothing_where_only_tokens_that_were_made_here_do() {
        let tokens = EcsTokens::new().expect("randomness");
        let issued_only = tokens.issued_only();
        tokens.configure(0, (&role("a"), Key::Token), &[b"of a file"], Duration::ZERO, NOW);
        assert!(tokens.opens(b"of a file", NOW) && !issued_only.opens(b"of a file", NOW));
        let token = tokens.issue(&role("a"), Duration::from_secs(10), NOW).expect("room");
        assert!(issued_only.opens(token.expose().as_bytes(), NOW));
        tokens.revoke(&token);
        assert!(!issued_only.opens(token.expose().as_bytes(), NOW));
    }

    #[test]
    fn the_table_is_bounded_and_what_is_over_makes_room() {
        let tokens = EcsTokens::new().expect("randomness");
        for _ in 0..MAX_ISSUED {
            tokens.issue(&role("a"), Duration::from_secs(10), NOW).expect("room");
        }
        assert!(matches!(tokens.issue(&role("a"), Duration::from_secs(1), NOW), Err(IssueError::Full)));
        tokens.issue(&role("a"), Duration::from_secs(1), NOW + Duration::from_secs(10)).expect("room again");
    }

    #[test]
    fn what_a_file_held_before_stays_valid_for_a_while() {
        let tokens = EcsTokens::new().expect("randomness");
        let overlap = Duration::from_mins(1);
        let opens = |key: &str, now| tokens.role(Key::Token, key.as_bytes(), now).is_some();
        let a = role("a");
        tokens.configure(0, (&a, Key::Token), &[b"old", b"second"], overlap, NOW);
        tokens.configure(1, (&role("b"), Key::Token), &[b"other"], overlap, NOW);
        let later = NOW + Duration::from_secs(5);
        tokens.configure(0, (&a, Key::Token), &[b"new", b"second"], overlap, later);
        for key in ["old", "new", "second", "other"] {
            assert!(opens(key, later), "{key}");
        }
        // Reading the same again does not prolong it.
        tokens.configure(0, (&a, Key::Token), &[b"new", b"second"], overlap, later + Duration::from_secs(30));
        let over = later + overlap;
        assert!(!opens("old", over) && opens("new", over) && opens("second", over) && opens("other", over));
        // With another configuration only what stands in the same file for the same role is left.
        let b = role("b");
        tokens.keep_files(|file| (file < 2).then_some(if file == 0 { &a } else { &b }));
        assert!(opens("other", over));
        tokens.keep_files(|file| (file == 0).then_some(&a));
        assert!(opens("new", over) && !opens("other", over));
        // And back again.
        tokens.configure(0, (&a, Key::Token), &[b"old"], overlap, over);
        assert!(opens("old", over + Duration::from_hours(1)));
    }
}
