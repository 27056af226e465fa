//! One key that signs, wherever it is.

use std::sync::Arc;

use crate::{Agent, Choice, PrivateKey, RsaHash, SshError, sshsig};

/// One key that signs. Clones are cheap and share the key.
#[derive(Debug, Clone)]
pub enum Signer {
    /// A key in an agent.
    Agent {
        /// The agent.
        agent: Agent,
        /// Which of its keys; `None` if it has only one.
        key: Option<Choice>,
    },
    /// A private key in memory.
    File(Arc<PrivateKey>),
}

impl Signer {
    /// The SSHSIG of `message` in `namespace`, without armour: its base64 is what `Authorization: Alppaca-SSH` has as
    /// `signature`. With an agent it takes as long as the person needs, but never longer than the agent's patience.
    pub async fn sign(&self, namespace: &str, message: &[u8]) -> Result<Vec<u8>, SshError> {
        let data = sshsig::message(namespace, message);
        let (key, signature) = match self {
            Self::Agent { agent, key } => {
                let key = agent.key(key.as_ref()).await?;
                let signature = agent.sign(&key.blob, &data, RsaHash::Sha512).await?;
                (key.blob, signature)
            }
            Self::File(key) => (key.public().to_vec(), key.sign(&data)?),
        };
        let (algorithm, _, _) = signature.parts()?;
        if matches!(algorithm, "ssh-rsa" | "ssh-dss") {
            return Err(SshError::Algorithm(algorithm.to_owned()));
        }
        Ok(sshsig::assemble(&key, namespace, &signature.blob))
    }
}
