//! What is said on one connection: a request, challenges and signatures, and the credentials or a reason.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    HologramError, frame,
    message::{self, Reply},
};
use crate::{
    credentials::Credentials,
    ssh_agent::{Agent, Key, RsaHash, SshError},
};

/// The length of a challenge.
const CHALLENGE: usize = 64;
/// With this begins what an SSHSIG signs, which with SHA-256 and the namespace `file` has just 64 bytes.
const SSHSIG: &[u8] = b"SSHSIG";

/// A way to sign: a key, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) key: Key,
    pub(super) hash: RsaHash,
}

/// The ways to sign with these keys, in their order. Servers built before 2022 take only SHA-1 for RSA keys.
pub(super) fn attempts(keys: Vec<Key>) -> Vec<Attempt> {
    let hashes = |key: &Key| match key.kind() {
        "ssh-rsa" => &[RsaHash::Sha512, RsaHash::Sha1][..],
        _ => &[RsaHash::Sha512],
    };
    keys.into_iter()
        .flat_map(|key| hashes(&key).iter().map(move |hash| Attempt { key: key.clone(), hash: *hash }))
        .collect()
}

/// Gets credentials, and says which attempt was accepted. Each attempt is made once.
pub(super) async fn credentials<'a>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    role: Option<&str>,
    agent: &Agent,
    attempts: &'a [Attempt],
) -> Result<(Credentials, Option<&'a Attempt>), HologramError> {
    frame::write(stream, &message::request(role)).await?;
    let mut left = attempts.iter();
    let mut current = None;
    // For each attempt a challenge and what becomes of it, and one challenge more when none is left.
    for _ in 0..=2 * attempts.len() {
        let body = frame::read(stream).await?;
        match message::parse_reply(&body).map_err(HologramError::Garbage)? {
            Reply::Credentials(set) => return Ok((set, current)),
            // Whatever follows it is not for us.
            Reply::Error(text) => return Err(HologramError::Said(text)),
            Reply::WrongSignature => {}
            Reply::Challenge(challenge) => {
                check(stream, &challenge).await?;
                let (attempt, signature) = sign(agent, &mut left, &challenge).await?;
                current = Some(attempt);
                frame::write(stream, &signature).await?;
            }
            Reply::Other => return Err(HologramError::Garbage("it asks for something that Hologram does not have")),
        }
    }
    Err(HologramError::Garbage("it does not come to an end"))
}

/// Refuses what is not a challenge but may be a request of another protocol, which a signature would make valid: the
/// server, or somebody between, could log in with it as this user. What SSH has signed for a log-in is longer.
async fn check(stream: &mut (impl AsyncWrite + Unpin), challenge: &[u8]) -> Result<(), HologramError> {
    if challenge.len() == CHALLENGE && !challenge.starts_with(SSHSIG) {
        return Ok(());
    }
    // It may be gone already, and has nothing to say.
    let _gone = frame::write(stream, &message::error("this is not a challenge")).await;
    Err(HologramError::NotAChallenge(challenge.len()))
}

/// Signs with the next key that can.
async fn sign<'a>(
    agent: &Agent,
    left: &mut impl Iterator<Item = &'a Attempt>,
    challenge: &[u8],
) -> Result<(&'a Attempt, Vec<u8>), HologramError> {
    let mut refused = None;
    for attempt in left {
        match agent.sign(&attempt.key.blob, challenge, attempt.hash).await {
            Ok(signature) => {
                let (format, signature, _) = signature.parts()?;
                return Ok((attempt, message::signature(signature, format)));
            }
            // Of this key alone.
            Err(error @ SshError::Refused) => refused = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(refused.map_or(HologramError::UnknownKeys, HologramError::Agent))
}
