//! Identity headers of a reverse proxy, which are believed only if the proxy sent them.

mod options;

use std::{net::IpAddr, sync::Arc};

use http::HeaderName;
use ipnet::IpNet;

pub use options::{METHOD, network};

use crate::{Evidence, Identity, Peer, Prove, Refusal, mtls::Mtls, names::shown};

/// The longest name, and the longest group.
const MAX_NAME: usize = 256;
/// The most groups.
const MAX_GROUPS: usize = 1000;

/// Where headers are believed.
pub enum Trusted {
    /// From processes of this user, over a Unix socket.
    Uid(u32),
    /// From this network.
    Network(IpNet),
    /// From the owner of a client certificate with one of these names.
    Certificate {
        /// Judges the certificate.
        method: Arc<Mtls>,
        /// The names.
        names: Vec<String>,
    },
}

/// Which headers count, and from where.
pub struct Settings {
    /// The name of the method in the configuration.
    pub name: String,
    /// The header with the name of the person, such as `x-remote-user`.
    pub name_header: HeaderName,
    /// The header with the groups.
    pub groups_header: Option<HeaderName>,
    /// What separates groups.
    pub separator: char,
    /// Where the headers may come from.
    pub from: Vec<Trusted>,
}

/// Proof by the header of a proxy.
pub struct Proxy(Settings);

impl Proxy {
    /// Believes as `settings` say.
    pub fn new(settings: Settings) -> Self {
        Self(settings)
    }

    /// What of the proxy is known, if the request comes from one.
    fn trusted(&self, evidence: &Evidence<'_>) -> Result<Option<String>, Refusal> {
        let mut refused = None;
        for from in &self.0.from {
            match (from, evidence.peer) {
                (Trusted::Uid(trusted), Peer::Unix { uid }) if trusted == uid => return Ok(Some(format!("uid {uid}"))),
                (Trusted::Network(network), Peer::Tcp(address)) if network.contains(&address.to_canonical()) => {
                    return Ok(Some(address.to_canonical().to_string()));
                }
                (Trusted::Certificate { method, names }, _) => match method.prove(evidence) {
                    Ok(Some(proxy)) if proxy.names.iter().any(|name| names.contains(name)) => {
                        return Ok(Some(format!("{}, {}", proxy.name, proxy.proof)));
                    }
                    Ok(_) => {}
                    Err(refusal) => refused = Some(refusal),
                },
                _ => {}
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// The only value of a header.
    fn only<'a>(evidence: &Evidence<'a>, header: &HeaderName) -> Result<Option<&'a str>, Refusal> {
        let mut values = evidence.headers.get_all(header).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Refusal::Refused(format!("the header {header} comes more than once")));
        }
        let text = std::str::from_utf8(value.as_bytes()).ok().filter(|text| !text.chars().any(char::is_control));
        text.map(str::trim).map(Some).ok_or_else(|| Refusal::Refused(format!("the header {header} is not a text")))
    }

    fn groups(&self, evidence: &Evidence<'_>) -> Result<Vec<String>, Refusal> {
        let Some(header) = &self.0.groups_header else { return Ok(Vec::new()) };
        let text = Self::only(evidence, header)?.unwrap_or_default();
        let groups = text.split(self.0.separator).map(str::trim).filter(|group| !group.is_empty());
        let groups: Vec<String> = groups.map(str::to_owned).collect();
        if groups.len() > MAX_GROUPS || groups.iter().any(|group| group.len() > MAX_NAME) {
            return Err(Refusal::Refused(format!("the header {header} has too many groups, or one that is too long")));
        }
        Ok(groups)
    }
}

impl Prove for Proxy {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn challenge(&self) -> Option<String> {
        None
    }

    fn prove(&self, evidence: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
        let headers = [Some(&self.0.name_header), self.0.groups_header.as_ref()];
        let Some(present) = headers.into_iter().flatten().find(|header| evidence.headers.contains_key(*header)) else {
            return Ok(None);
        };
        let Some(proxy) = self.trusted(evidence)? else {
            let from = place(evidence.peer);
            return Err(Refusal::Refused(format!(
                "the header {present} is not believed: {from} is not a listed proxy"
            )));
        };
        let header = &self.0.name_header;
        let Some(name) = Self::only(evidence, header)? else {
            return Err(Refusal::Refused(format!("there are groups, but no {header}")));
        };
        // Two values that a proxy has joined look like one with a comma.
        if name.is_empty() || name.len() > MAX_NAME || name.contains(',') {
            return Err(Refusal::Refused(format!("the header {header} is not one name: {}", shown(name))));
        }
        let (groups, proof) = (self.groups(evidence)?, format!("{header} from {proxy}"));
        Ok(Some(Identity { groups, proof, ..Identity::new(name, "proxy", &self.0.name) }))
    }
}

fn place(peer: &Peer) -> String {
    match peer {
        Peer::Tcp(address) => IpAddr::to_canonical(address).to_string(),
        Peer::Unix { uid } => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests;
