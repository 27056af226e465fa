//! Why there is no signature.

use std::path::PathBuf;

use crate::wire::WireError;

/// Why there is no signature. Nothing secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    /// Nothing listens at the socket, or it may not be used.
    #[error("the ssh-agent {socket} cannot be reached: {cause}")]
    Absent {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// It did not answer in time; it may wait for a person who confirms or touches the key.
    #[error("the ssh-agent {0} did not answer in time")]
    TimedOut(PathBuf),
    /// It answers `SSH_AGENT_FAILURE`.
    #[error("the ssh-agent refuses to sign: it is locked, the key is gone, or the person did not confirm")]
    Refused,
    /// It has no key at all.
    #[error("the ssh-agent has no keys: it is locked (unlock it: ssh-add -X) or empty (ssh-add)")]
    Empty,
    /// It does not have the chosen key.
    #[error("the ssh-agent does not have the key {wanted}; it has: {}", candidates.join(", "))]
    NoSuchKey {
        /// How the key was chosen.
        wanted: String,
        /// The keys that it has.
        candidates: Vec<String>,
    },
    /// Several keys could be meant.
    #[error(
        "several keys of the ssh-agent could be meant; choose one by its fingerprint or its .pub file: {}",
        candidates.join(", ")
    )]
    Ambiguous {
        /// The keys that could be meant.
        candidates: Vec<String>,
    },
    /// What it answers is not of the protocol.
    #[error("the ssh-agent's answer makes no sense: {0}")]
    Protocol(&'static str),
    /// It signed with another hash than asked for.
    #[error("the ssh-agent signs with {0:?}, which is not accepted any more; it needs rsa-sha2-512 (RFC 8332)")]
    Algorithm(String),
    /// A file with a key cannot be used.
    #[error("{}: {cause}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A private key cannot be used.
    #[error("{0}")]
    PrivateKey(&'static str),
}

impl SshError {
    /// Whether it may work later without a change of the configuration: the agent is started or unlocked, the key is
    /// added, the person is back. What is left is for a person to correct.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Absent { .. }
            | Self::TimedOut(_)
            | Self::Refused
            | Self::Empty
            | Self::NoSuchKey { .. }
            | Self::Protocol(_) => true,
            Self::Ambiguous { .. } | Self::Algorithm(_) | Self::File { .. } | Self::PrivateKey(_) => false,
        }
    }
}

impl From<WireError> for SshError {
    fn from(error: WireError) -> Self {
        Self::Protocol(error.0)
    }
}
