//! Forward-confirmed reverse DNS: the name of the caller's address, if that name has this address.

mod options;
mod system;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

pub use options::METHOD;
use regex_lite::Regex;
pub use system::System;

use crate::{
    Evidence, Identity, Peer, Prove, Refusal,
    expression::Expression,
    lookups::Lookups,
    names::{host, shown},
};

/// Why a look-up found nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupError {
    /// The name service says that there is nothing.
    NotFound,
    /// The name service is broken.
    Failed(String),
}

/// A name service. It may block.
pub trait Resolve: Send + Sync {
    /// The name of an address.
    fn name(&self, address: IpAddr) -> Result<String, LookupError>;

    /// The addresses of an absolute name, one with a dot at its end: no other name is tried, such as one in a domain of
    /// the search list.
    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError>;
}

/// Which names count, and what is made of them.
pub struct Settings {
    /// The name of the method in the configuration.
    pub name: String,
    /// How long both look-ups may take together.
    pub timeout: Duration,
    /// The name has to match it.
    pub pattern: Expression,
    /// Replacements in the name, one after another, with `$name` for what a group matched.
    pub rewrite: Vec<(Regex, String)>,
}

/// Proof by the name service.
pub struct Dns {
    settings: Settings,
    resolver: Arc<dyn Resolve>,
    /// By the party that an address belongs to.
    lookups: Lookups<IpAddr>,
}

impl Dns {
    /// Asks `resolver`.
    pub fn new(settings: Settings, resolver: Arc<dyn Resolve>) -> Self {
        Self { settings, resolver, lookups: Lookups::new("dns") }
    }

    fn confirmed(&self, address: IpAddr) -> Result<String, Refusal> {
        let resolver = Arc::clone(&self.resolver);
        let work = move || confirm(&*resolver, address);
        let found = self.lookups.run(party(address), self.settings.timeout, work);
        found.map_err(|cause| Refusal::Unavailable(format!("cannot look up the name of {address}: {cause}")))?
    }

    fn rewritten(&self, name: &str) -> Result<String, Refusal> {
        let rewrite =
            |text: String, (pattern, with): &(Regex, String)| pattern.replace_all(&text, &**with).into_owned();
        let text = self.settings.rewrite.iter().fold(name.to_owned(), rewrite);
        host(&text).ok_or_else(|| Refusal::Refused(format!("what is made of {name} is not a name: {}", shown(&text))))
    }
}

/// The party that an address belongs to. A host with one IPv6 address can use the 2^64 of its network.
fn party(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}

fn confirm(resolver: &dyn Resolve, address: IpAddr) -> Result<String, Refusal> {
    let unavailable = |cause| Refusal::Unavailable(format!("cannot look up the name of {address}: {cause}"));
    let found = match resolver.name(address) {
        Ok(name) => name,
        Err(LookupError::NotFound) => return Err(Refusal::Refused(format!("{address} has no name in the DNS"))),
        Err(LookupError::Failed(cause)) => return Err(unavailable(cause)),
    };
    let Some(name) = host(&found) else {
        return Err(Refusal::Refused(format!("the name of {address} is no host name: {}", shown(&found))));
    };
    match resolver.addresses(&format!("{name}.")) {
        Ok(addresses) if addresses.iter().any(|found| found.to_canonical() == address) => Ok(name),
        Ok(_) | Err(LookupError::NotFound) => {
            Err(Refusal::Refused(format!("{address} has the name {name}, but that name does not have this address")))
        }
        Err(LookupError::Failed(cause)) => Err(unavailable(cause)),
    }
}

impl Prove for Dns {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn challenge(&self) -> Option<String> {
        None
    }

    fn blocks(&self) -> bool {
        true
    }

    fn prove(&self, evidence: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
        let Peer::Tcp(address) = evidence.peer else { return Ok(None) };
        let address = address.to_canonical();
        let confirmed = self.confirmed(address)?;
        if !self.settings.pattern.matches(&confirmed) {
            return Err(Refusal::Refused(format!(
                "{address} has the name {confirmed}, which is not accepted (pattern)"
            )));
        }
        let name = self.rewritten(&confirmed)?;
        let mut names = vec![name.clone()];
        if name != confirmed {
            names.push(confirmed);
        }
        let proof = address.to_string();
        Ok(Some(Identity { names, proof, ..Identity::new(name, "dns", &self.settings.name) }))
    }
}

#[cfg(test)]
mod tests;
