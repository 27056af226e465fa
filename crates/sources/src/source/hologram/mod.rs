//! An existing hologram-server, which proves the user by the keys in his ssh-agent.

mod dialogue;
mod frame;
mod message;
pub(super) mod options;
mod tls;

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dialogue::Attempt;
pub use message::{Reply, parse_reply};
use rustls_pki_types::ServerName;
use tls::Pin;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{ErrorKind, Fetch, SourceError, SourceFuture, ims::NO_SUCH_ROLE};
use crate::{
    credentials::{Credentials, RoleArn},
    fetch::{Resolver, SetupError},
    ssh_agent::{Agent, Choice, Key, SshError, choose},
    text::printable,
};

/// The most keys that are tried: a server that knows none would have all of them sign.
const MAX_KEYS: usize = 16;

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
enum HologramError {
    /// Nothing is heard of it.
    #[error("no answer: {0}")]
    Io(#[from] io::Error),
    /// The time is over.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Not of the protocol.
    #[error("the answer makes no sense: {0}")]
    Garbage(&'static str),
    /// A text of the server, which is foreign.
    #[error("the server says {:?}", printable(.0, 300))]
    Said(String),
    /// Something else was to be signed.
    #[error(
        "the server sent {0} bytes to be signed that are no challenge of Hologram. Nothing was signed. This is what an \
         attack looks like that wants your SSH key to log in elsewhere"
    )]
    NotAChallenge(usize),
    /// No key was accepted.
    #[error("the server knows none of the keys that were tried")]
    UnknownKeys,
    /// No key can be used.
    #[error("{0}")]
    Keys(&'static str),
    /// The agent does not sign.
    #[error("{0}")]
    Agent(#[from] SshError),
}

/// The server, and how it is connected to.
struct Server {
    /// `host:port`.
    address: String,
    name: ServerName<'static>,
    resolver: Resolver,
    connector: TlsConnector,
    connect_timeout: Duration,
    is_verified: bool,
}

impl Server {
    /// `address` is `host:port`.
    fn new(
        address: &str,
        connect_timeout: Duration,
        pin: Option<Pin>,
        ca_file: Option<&Path>,
    ) -> Result<Self, SetupError> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| SetupError::Tls(error.to_string()))?;
        Ok(Self {
            address: address.to_owned(),
            name,
            resolver: Resolver::new(),
            connector: TlsConnector::from(Arc::new(tls::client_config(pin, ca_file)?)),
            connect_timeout,
            is_verified: pin.is_some() || ca_file.is_some(),
        })
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, HologramError> {
        let connected = timeout(self.connect_timeout, async {
            let tcp = self.tcp().await?;
            tcp.set_nodelay(true)?;
            self.connector.connect(self.name.clone(), tcp).await
        });
        Ok(connected.await.map_err(|_| HologramError::TimedOut(self.connect_timeout))??)
    }

    /// To the first of its addresses that works.
    async fn tcp(&self) -> io::Result<TcpStream> {
        let port = self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default();
        let addresses: Vec<SocketAddr> = match &self.name {
            ServerName::IpAddress(address) => vec![SocketAddr::new((*address).into(), port)],
            name => {
                let found = self.resolver.look_up(&name.to_str()).await?;
                found.map(|address| SocketAddr::new(address.ip(), port)).collect()
            }
        };
        TcpStream::connect(&*addresses).await
    }
}

/// A hologram-server, and the user's keys for it.
struct Hologram {
    server: Server,
    agent: Agent,
    choice: Option<Choice>,
    timeout: Duration,
    memory: Mutex<Memory>,
}

/// What earlier calls have shown.
#[derive(Default)]
struct Memory {
    /// What the server accepted last.
    accepted: Option<Attempt>,
    /// The key that the server showed last, if it is not verified.
    shown: Option<Pin>,
}

impl Hologram {
    fn new(server: Server, agent: Agent, choice: Option<Choice>, timeout: Duration) -> Self {
        Self { server, agent, choice, timeout, memory: Mutex::default() }
    }

    async fn credentials(&self, role: Option<&str>) -> Result<Credentials, HologramError> {
        let call = timeout(self.timeout, self.call(role));
        call.await.map_err(|_| HologramError::TimedOut(self.timeout))?
    }

    async fn call(&self, role: Option<&str>) -> Result<Credentials, HologramError> {
        // First, since without keys there is no need to bother the server.
        let mut attempts = dialogue::attempts(self.keys().await?);
        let accepted = self.remember(|memory| memory.accepted.clone());
        attempts.sort_by_key(|attempt| accepted.as_ref() != Some(attempt));
        let mut stream = self.server.connect().await?;
        if !self.server.is_verified {
            self.warn(tls::shown(stream.get_ref().1.peer_certificates()));
        }
        let (set, accepted) = dialogue::credentials(&mut stream, role, &self.agent, &attempts).await?;
        self.remember(|memory| memory.accepted = accepted.cloned());
        Ok(set)
    }

    /// The keys to try. The server knows keys but no certificates, and a signature of a FIDO key does not fit into a
    /// message.
    async fn keys(&self) -> Result<Vec<Key>, HologramError> {
        let all = self.agent.keys().await?;
        let is_empty = all.is_empty();
        let mut keys: Vec<_> = all.into_iter().filter(|key| !key.is_certificate() && !key.is_hardware()).collect();
        if keys.is_empty() && !is_empty {
            return Err(HologramError::Keys(
                "the ssh-agent has only certificates and keys in hardware, with which Hologram cannot work",
            ));
        }
        if self.choice.is_some() || is_empty {
            return Ok(vec![choose(self.choice.as_ref(), keys).await?]);
        }
        keys.truncate(MAX_KEYS);
        Ok(keys)
    }

    /// Says once which key the server shows, so that it can be compared and pinned.
    fn warn(&self, shown: Option<Pin>) {
        let before = self.remember(|memory| std::mem::replace(&mut memory.shown, shown));
        if let Some(pin) = shown.filter(|pin| before != Some(*pin)) {
            let server = &self.server.address;
            let changed = if before.is_some() { "another key than before, " } else { "the key " };
            let advice = if pin.is_public() {
                "which is public and proves nothing: put TLS of your own in front of the server".to_owned()
            } else {
                format!("which nothing verifies; if it is the server's, set `pin: {pin}`")
            };
            tracing::warn!("the hologram-server {server} shows {changed}{pin}, {advice}");
        }
    }

    fn remember<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        // Nothing that could panic is done while it is held.
        look(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What follows from an error.
    fn failure(&self, error: &HologramError) -> SourceError {
        let message = format!("hologram-server {}: {error}", self.server.address);
        match error {
            HologramError::NotAChallenge(_) => {
                tracing::error!("{message}");
                SourceError::transient(message)
            }
            HologramError::UnknownKeys => SourceError::doubtful(NO_SUCH_ROLE, message),
            HologramError::Said(text) if text.contains("not authorized") => {
                // AWS says it too, of the server; that need not be for ever.
                let withdraws = text.contains("is not authorized to assume role");
                let said = printable(text, 300);
                let kind = ErrorKind::Refused { code: NO_SUCH_ROLE.to_owned(), message: said, withdraws };
                SourceError::new(kind, message)
            }
            _ => SourceError::transient(message),
        }
    }
}

/// One role of the server.
struct Asked {
    hologram: Arc<Hologram>,
    /// None: the user's default role.
    role: Option<String>,
    role_arn: Option<RoleArn>,
}

impl Fetch for Asked {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(async move {
            let set = self.hologram.credentials(self.role.as_deref()).await;
            let set = set.map_err(|error| self.hologram.failure(&error))?;
            let account_id = self.role_arn.as_ref().map(RoleArn::account);
            Ok(Credentials { role_arn: self.role_arn.clone(), account_id, ..set })
        })
    }
}

#[cfg(test)]
mod tests;
