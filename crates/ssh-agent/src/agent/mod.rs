//! The client of an ssh-agent: lists its keys, and has it sign (draft-miller-ssh-agent).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use crate::{
    Choice, Key, RsaHash, SshError, choice,
    wire::{Reader, put},
};

/// `SSH_AGENT_FAILURE`.
const FAILURE: u8 = 5;
/// `SSH_AGENTC_REQUEST_IDENTITIES`, and the answer.
const LIST: (u8, u8) = (11, 12);
/// `SSH_AGENTC_SIGN_REQUEST`, and the answer.
const SIGN: (u8, u8) = (13, 14);
/// The longest message, as OpenSSH's agent has it.
pub const MAX_MESSAGE: usize = 256 * 1024;

/// An ssh-agent. A connection is made for each call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    socket: PathBuf,
    patience: Duration,
}

impl Agent {
    /// The agent at a socket (`SSH_AUTH_SOCK`). Each of its answers has to come within `patience`, which includes the
    /// time in which a person confirms or touches the key.
    pub fn new(socket: impl Into<PathBuf>, patience: Duration) -> Self {
        Self { socket: socket.into(), patience }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its keys and certificates, in its order. A locked agent says that it has none.
    pub async fn keys(&self) -> Result<Vec<Key>, SshError> {
        let answer = self.call(&[LIST.0]).await?;
        parse_keys(&answer)
    }

    /// The one key that is chosen; without a choice the only one.
    pub async fn key(&self, choice: Option<&Choice>) -> Result<Key, SshError> {
        choice::choose(choice, self.keys().await?).await
    }

    /// Has it sign `data` with the key of that blob. The hash matters for RSA keys only; an old agent may ignore it.
    ///
    /// What is signed decides what the signature can be used for: never let a peer choose `data` freely.
    pub async fn sign(&self, key: &[u8], data: &[u8], hash: RsaHash) -> Result<Signature, SshError> {
        let mut request = vec![SIGN.0];
        put(&mut request, key);
        put(&mut request, data);
        request.extend(hash.agent_flags().to_be_bytes());
        parse_signature(&self.call(&request).await?)
    }

    async fn call(&self, request: &[u8]) -> Result<Vec<u8>, SshError> {
        let call = timeout(self.patience, self.exchange(request)).await;
        call.map_err(|_| SshError::TimedOut(self.socket.clone()))?
    }

    async fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, SshError> {
        let absent = |error: std::io::Error| SshError::Absent { socket: self.socket.clone(), cause: error.to_string() };
        let mut stream = UnixStream::connect(&self.socket).await.map_err(absent)?;
        let mut message = Vec::new();
        put(&mut message, request);
        stream.write_all(&message).await.map_err(absent)?;
        let length = stream.read_u32().await.map_err(absent)?;
        let length = usize::try_from(length).ok().filter(|length| (1..=MAX_MESSAGE).contains(length));
        let mut answer = vec![0; length.ok_or(SshError::Protocol("its length is not allowed"))?];
        stream.read_exact(&mut answer).await.map_err(absent)?;
        Ok(answer)
    }
}

/// What follows the type of an answer.
fn body(answer: &[u8], kind: u8) -> Result<Reader<'_>, SshError> {
    let mut reader = Reader::new(answer);
    match reader.byte()? {
        FAILURE => Err(SshError::Refused),
        found if found == kind => Ok(reader),
        _ => Err(SshError::Protocol("it is of another type")),
    }
}

/// Reads the answer to the request for all keys.
pub fn parse_keys(answer: &[u8]) -> Result<Vec<Key>, SshError> {
    let mut reader = body(answer, LIST.1)?;
    let count = reader.number()?;
    // No more are allocated than there are bytes for.
    let mut keys = Vec::new();
    for _ in 0..count {
        let blob = reader.string()?.to_vec();
        keys.push(Key { blob, comment: String::from_utf8_lossy(reader.string()?).into_owned() });
    }
    reader.end()?;
    Ok(keys)
}

/// Reads the answer to the request for a signature.
pub fn parse_signature(answer: &[u8]) -> Result<Signature, SshError> {
    let mut reader = body(answer, SIGN.1)?;
    let signature = Signature { blob: reader.string()?.to_vec() };
    reader.end()?;
    signature.parts()?;
    Ok(signature)
}

/// A signature as an agent gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Algorithm and signature, each a string; with keys in hardware flags and a counter follow (PROTOCOL.u2f).
    pub blob: Vec<u8>,
}

impl Signature {
    /// The algorithm, the signature, and what follows them.
    pub fn parts(&self) -> Result<(&str, &[u8], &[u8]), SshError> {
        let mut reader = Reader::new(&self.blob);
        let (algorithm, signature) = (reader.text()?, reader.string()?);
        Ok((algorithm, signature, reader.rest()))
    }
}

#[cfg(test)]
mod tests;
