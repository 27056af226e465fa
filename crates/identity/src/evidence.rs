//! The words: what a request shows, who it proves to be, and why it proves nothing.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Method, header::AUTHORIZATION};
use rustls_pki_types::CertificateDer;

use crate::Hold;

/// Where a connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP, from this address.
    Tcp(IpAddr),
    /// Over a Unix socket, from a process of this user.
    Unix {
        /// The user id that the kernel reports.
        uid: u32,
    },
}

/// What one request shows. Nothing in it is proven yet, but the peer, and the chain, which TLS has checked against some
/// certificate authority of the listener.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    /// The other end of the connection.
    pub peer: &'a Peer,
    /// The client certificate and its chain, leaf first; empty without one.
    pub certificates: &'a [CertificateDer<'static>],
    /// The method of the request.
    pub method: &'a Method,
    /// The path with its query, as sent.
    pub path: &'a str,
    /// The headers as sent.
    pub headers: &'a HeaderMap,
    /// The wall clock.
    pub now: SystemTime,
}

/// Somebody or something that has proven who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name that rules match and that session names are made of.
    pub name: String,
    /// All names that the proof holds, such as each SAN of a certificate; the first is `name`.
    pub names: Vec<String>,
    /// The word of the method (`kind` in the configuration): `mtls`, `jwt`, `proxy`, `dns`, `ssh`, `token`.
    pub method: &'static str,
    /// The name of the configured identity method that accepted the proof.
    pub proven_by: String,
    /// The groups that came with the proof.
    pub groups: Vec<String>,
    /// Claims of a token, as texts; a list has several.
    pub claims: BTreeMap<String, Vec<String>>,
    /// What to look for in logs: the serial number, the fingerprint, the `jti` or the key id. Never a secret.
    pub proof: String,
    /// When a person signed in, if the proof says so (`auth_time`).
    pub authenticated_at: Option<SystemTime>,
    /// How long ago the proof was issued, if it says so.
    pub age: Option<Duration>,
    /// The proof, if it is for one request. The server says whether that has used it.
    pub hold: Option<Arc<Hold>>,
}

impl Identity {
    /// Who has this one name by this method, which is called `proven_by`, and of whom nothing else is known.
    pub fn new(name: impl Into<String>, method: &'static str, proven_by: &str) -> Self {
        let name = name.into();
        Self {
            names: vec![name.clone()],
            name,
            method,
            proven_by: proven_by.to_owned(),
            groups: Vec::new(),
            claims: BTreeMap::new(),
            proof: String::new(),
            authenticated_at: None,
            age: None,
            hold: None,
        }
    }

    /// Adds groups, each once.
    pub(crate) fn join(&mut self, groups: Vec<String>) {
        for group in groups {
            if !self.groups.contains(&group) {
                self.groups.push(group);
            }
        }
    }
}

/// Why a request does not prove an identity. The text is for logs and for the client: it holds no secret, and what
/// came from the client is quoted and bounded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is a proof, and it is not accepted: 401.
    #[error("{0}")]
    Refused(String),
    /// The proof could not be checked because something else is broken, such as a name server: 503.
    #[error("{0}")]
    Unavailable(String),
}

/// A way to prove an identity, as configured.
pub trait Prove: Send + Sync {
    /// The name it has in the configuration.
    fn name(&self) -> &str;

    /// The value of `WWW-Authenticate` that asks for this proof, if there is one.
    fn challenge(&self) -> Option<String>;

    /// Whether judging a request may wait for something, such as a name server: then it has a thread of its own. These
    /// threads are few and shared with all that blocks, so each wait has an end, and only so many wait at once.
    fn blocks(&self) -> bool {
        false
    }

    /// Who this is. `None` if the request holds no proof of this kind, so that the next way is tried.
    fn prove(&self, evidence: &Evidence<'_>) -> Result<Option<Identity>, Refusal>;
}

/// What follows a scheme in the header `Authorization`. With two of these headers it is not known which
/// one counts.
pub(crate) fn authorization<'a>(evidence: &Evidence<'a>, scheme: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = evidence.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Refused(format!("the header {AUTHORIZATION} comes more than once")));
    }
    let Ok(value) = value.to_str() else {
        return Err(Refusal::Refused(format!("the header {AUTHORIZATION} is not a text")));
    };
    let Some((found, rest)) = value.trim().split_once(' ') else { return Ok(None) };
    Ok(found.eq_ignore_ascii_case(scheme).then(|| rest.trim()))
}
