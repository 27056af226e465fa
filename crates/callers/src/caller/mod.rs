//! Identifies the client of a connection: what the kernel and the container runtime report of it. Decides nothing.

mod accounts;
pub mod budget;
pub mod cgroup;
pub mod containers;
mod hierarchy;
mod identity_cache;
mod kernel;
mod listening;
mod namespace;
pub mod netlink;
mod party;
mod pidfd;
mod pod;
mod process;
mod unix;

use std::{
    fmt::{self, Display as _},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

pub use accounts::{Account, Accounts, NameService, human_users};
use cgroup::Cgroup;
pub use identity_cache::{IdentityCache, Known, Name, NameKind};
pub use kernel::{Kernel, Open};
pub use listening::Listening;
pub use party::Subordinates;
pub use pod::ProvenPod;
pub use process::Holder;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address; none at a Unix socket. An IPv4 address that IPv6 carries (`::ffff:a.b.c.d`) is written as what it is.
    pub address: Option<SocketAddr>,
    /// Whose it is.
    pub origin: Origin,
}

/// Whose the other end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Not looked up yet.
    Unasked,
    /// A process of this host, in our network namespace.
    Process(Process),
    /// Not of this host's addresses: a container with a network of its own, or another host.
    Elsewhere,
    /// The kernel does not say whose: the client has closed its end already, or the look-up failed. Decisions by identity
    /// refuse it.
    Unknown {
        /// Whether it certainly has one of this host's addresses. Otherwise it may be a container, or another host.
        ours: bool,
    },
}

impl Origin {
    /// That of a client of which nothing can be looked up: certainly of this host are the loopback addresses only, and Unix
    /// sockets, where there is no address.
    pub(crate) fn unidentified(address: Option<SocketAddr>) -> Self {
        Self::Unknown { ours: address.is_none_or(|address| address.ip().to_canonical().is_loopback()) }
    }
}

/// What the kernel reports of a client's socket. All of it was fixed when the socket was made: it names who made the
/// socket, which is not its current user if the socket was inherited or passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The user.
    pub uid: u32,
    /// The group, where it is known (Unix sockets).
    pub gid: Option<u32>,
    /// The process, where it is known (Unix sockets). It may have ended, and its number may belong to another by now.
    pub pid: Option<u32>,
    /// The socket's inode. Never 0.
    pub inode: u64,
    /// Its control group.
    pub cgroup: Membership,
}

/// Which control group a socket belongs to: that in which its maker was at that time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// The kernel does not report it (before Linux 5.7), or there is none.
    Unknown,
    /// The one with this id in the unified hierarchy.
    Id(u64),
    /// This one.
    Known(Arc<Cgroup>),
}

/// The lasting identity of a caller, which an IMDS token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A user of this host.
    User(u32),
    /// A remote client at this address.
    Address(IpAddr),
    /// A caller of whom nothing is known.
    Nobody,
}

impl Peer {
    /// A client at `address` whose identity was not looked up.
    pub fn unasked(address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address: Some(address), origin: Origin::Unasked }
    }

    /// Its address for the log.
    pub fn place(&self) -> impl fmt::Display + use<'_> {
        fmt::from_fn(|f| match &self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("a Unix socket"),
        })
    }

    /// Its user, as far as it was looked up.
    pub fn uid(&self) -> Option<u32> {
        match &self.origin {
            Origin::Process(process) => Some(process.uid),
            Origin::Elsewhere | Origin::Unasked | Origin::Unknown { .. } => None,
        }
    }

    /// What its tokens are bound to.
    pub fn owner(&self) -> Owner {
        match &self.origin {
            Origin::Process(process) => Owner::User(process.uid),
            Origin::Elsewhere => self.address.map_or(Owner::Nobody, |address| Owner::Address(address.ip())),
            Origin::Unasked | Origin::Unknown { .. } => Owner::Nobody,
        }
    }
}
