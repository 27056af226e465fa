//! What kind of caller a request came from, for the metrics: few kinds, whatever a host has.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    caller::{Origin, Peer},
    clock::BootTime,
    policy::Gatekeeper,
};

/// A kind of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerClass {
    /// Root.
    Root,
    /// An account of the system: a service.
    System,
    /// Any other user of this host.
    User,
    /// A program of this host whose user was not looked up: without a policy and an audit there is no need to.
    Local,
    /// A container.
    Container,
    /// Another host, or a container that is not known as one.
    Remote,
    /// A caller that cannot be identified.
    Unknown,
}

impl CallerClass {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Root, Self::System, Self::User, Self::Local, Self::Container, Self::Remote, Self::Unknown];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::System => "system",
            Self::User => "user",
            Self::Local => "local",
            Self::Container => "container",
            Self::Remote => "remote",
            Self::Unknown => "unknown",
        }
    }

    /// That of `peer`, as far as it was identified. It asks the kernel for as little as it can: this is on the path of requests.
    pub(super) fn of(peer: &Peer, gatekeeper: &dyn Gatekeeper, now: BootTime) -> Self {
        match &peer.origin {
            _ if gatekeeper.container(peer).is_some() => Self::Container,
            Origin::Process(process) => Self::of_user(process.uid),
            Origin::Elsewhere => Self::Remote,
            Origin::Unasked if peer.address.is_none_or(|address| is_local(address, gatekeeper, || now)) => Self::Local,
            Origin::Unasked => Self::Remote,
            Origin::Unknown { .. } => Self::Unknown,
        }
    }

    /// Debian's ranges and systemd's, which most distributions share.
    fn of_user(uid: u32) -> Self {
        match uid {
            0 => Self::Root,
            // Services with `DynamicUser`, and `nobody`.
            1..1000 | 61184..=65519 | 65534 => Self::System,
            _ => Self::User,
        }
    }
}

/// How long an address of this host is taken for one.
const REMEMBERED: Duration = Duration::from_secs(10);

thread_local! {
    /// The last address that was asked for. Captured requests come from one.
    static LAST: Cell<Option<(IpAddr, BootTime, bool)>> = const { Cell::new(None) };
}

/// Whether an address is one of this host's. The clock is read only if need be: this is asked for each request.
pub(super) fn is_local(address: SocketAddr, gatekeeper: &dyn Gatekeeper, now: impl FnOnce() -> BootTime) -> bool {
    let ip = address.ip();
    if ip.is_loopback() {
        return true;
    }
    let now = now();
    match LAST.get() {
        Some((last, at, local)) if last == ip && now.since(at) < REMEMBERED => local,
        _ => {
            let local = gatekeeper.is_local(address);
            LAST.set(Some((ip, now, local)));
            local
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        caller::{Membership, Process},
        policy::Everyone,
    };

    #[test]
    fn callers_are_of_few_kinds() {
        let process =
            |uid| Origin::Process(Process { uid, gid: None, pid: None, inode: 1, cgroup: Membership::Unknown });
        let (near, far) = ("127.0.0.1:1", "192.0.2.1:1");
        for (address, origin, class) in [
            (near, Origin::Unasked, CallerClass::Local),
            (far, Origin::Unasked, CallerClass::Remote),
            (far, Origin::Elsewhere, CallerClass::Remote),
            (near, Origin::Unknown { ours: true }, CallerClass::Unknown),
            (near, process(0), CallerClass::Root),
            (near, process(33), CallerClass::System),
            (near, process(62000), CallerClass::System),
            (near, process(65534), CallerClass::System),
            (near, process(1000), CallerClass::User),
        ] {
            let peer = Peer { address: Some(address.parse().expect("an address")), origin };
            assert_eq!(CallerClass::of(&peer, &Everyone::default(), BootTime::ZERO), class, "{peer:?}");
        }
    }
}
