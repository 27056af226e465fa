//! Which caller gets which role: from what is known of a caller to what it may see.

mod choices;
pub mod containers;
mod engine;
mod judge;
mod rules;

use std::{
    future::Future,
    net::{SocketAddr, TcpStream},
    pin::Pin,
    sync::Arc,
};

pub use choices::{Choice, Choices};
pub use engine::{ContainerPolicy, PolicyEngine, Prepared};
pub use judge::{Facts, Look, Outcome, Truth, Verdict};
pub use rules::{Cidr, CidrError, Condition, Effect, Rule, Rules};

use crate::{
    caller::{Open, Peer, containers::Container},
    credentials::RoleId,
};

/// What a caller may see. Whatever is not granted is not there: it is neither listed nor found by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// All listed roles.
    Everything,
    /// All listed roles, the one that the caller has chosen first, if there is one of that name.
    EverythingLedBy {
        /// The id of the role.
        role: RoleId,
        /// That of the sets of it that are the caller's own, if there are any.
        own: Option<RoleId>,
    },
    /// These, and no others. The listing shows the first of them that there is.
    Roles(Arc<[RoleId]>),
    /// Nothing: as on an instance without a role.
    Denied,
    /// Not known yet: the request waits for a moment, as for a first fetch.
    Pending,
    /// Nothing, because the caller or what the rules grant it cannot be determined. That is a failure on this host,
    /// not the absence of a role: a client should try again (503).
    Unknown,
}

impl Grant {
    /// Whether nothing is kept from the caller.
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::Everything | Self::EverythingLedBy { .. })
    }
}

/// A grant and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What the caller may see.
    pub grant: Grant,
    /// The rule that decided, or any other reason, for the log.
    pub reason: Arc<str>,
}

/// What a decision is made of.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionFacts<'a> {
    /// The number of the listener.
    pub listener: u16,
    /// The caller, as far as it was identified.
    pub peer: &'a Peer,
}

/// Decides what a caller may see, once for each connection. It is asked on the request path, so it never waits.
pub trait Gatekeeper: Send + Sync {
    /// Whether it needs the caller's identity; otherwise callers are identified only for requests with tokens.
    fn asks_who(&self) -> bool;

    /// Identifies the client of `socket`, a connection that was accepted from `peer`. `open` sends the beginning of the
    /// next answer, if the client has to prove its identity.
    fn identify(&self, socket: &TcpStream, peer: &Peer, open: &mut Open<'_>) -> Peer;

    /// Whether an address is certainly one of this host's.
    fn is_local(&self, address: SocketAddr) -> bool;

    /// What the caller may see.
    fn admit(&self, facts: ConnectionFacts<'_>) -> Decision;

    /// The caller's container, if it is known without waiting: for the audit record.
    fn container(&self, peer: &Peer) -> Option<Arc<Container>>;

    /// Whether the caller is certainly in a container: one that is known, or one behind a bridge of this host.
    fn is_container(&self, peer: &Peer) -> bool {
        self.container(peer).is_some()
    }

    /// The name of a user, if it is known without waiting; otherwise it is looked up for the next question.
    fn user_name(&self, _uid: u32) -> Option<Box<str>> {
        None
    }

    /// How many containers get nothing because it cannot be verified that they run.
    fn unverified_containers(&self) -> usize {
        0
    }

    /// The digest of the rules in force; `None` if there are none.
    fn policy(&self) -> Option<String>;

    /// Grows when decisions that were made before may be wrong now.
    fn version(&self) -> u64;

    /// Becomes ready when what was [`Grant::Pending`] may be known. It counts from the call on.
    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Grants everything to every caller, and identifies none.
#[derive(Debug)]
pub struct Everyone {
    reason: Arc<str>,
}

impl Default for Everyone {
    fn default() -> Self {
        Self { reason: "there is no policy".into() }
    }
}

impl Gatekeeper for Everyone {
    fn asks_who(&self) -> bool {
        false
    }

    fn identify(&self, _socket: &TcpStream, peer: &Peer, _open: &mut Open<'_>) -> Peer {
        peer.clone()
    }

    fn is_local(&self, address: SocketAddr) -> bool {
        address.ip().is_loopback()
    }

    fn admit(&self, _facts: ConnectionFacts<'_>) -> Decision {
        Decision { grant: Grant::Everything, reason: Arc::clone(&self.reason) }
    }

    fn container(&self, _peer: &Peer) -> Option<Arc<Container>> {
        None
    }

    fn policy(&self) -> Option<String> {
        None
    }

    fn version(&self) -> u64 {
        0
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}
