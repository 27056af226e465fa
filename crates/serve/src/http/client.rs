//! Who is at the other end of a connection and what it may see: found out at its first request, kept to its end.

use std::{
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use super::{
    caller_class::{self, CallerClass},
    request::Request,
    request_context::RequestContext,
    request_filter,
};
use crate::{
    caller::{Open, Origin, Owner, Peer},
    clock::BootTime,
    policy::{ConnectionFacts, Decision, Gatekeeper, Grant},
};

/// The other end of a connection.
pub(super) struct ClientConnection {
    peer: Peer,
    listener: u16,
    /// What it may see, and for which version of the gatekeeper that is so.
    decision: Option<(u64, Decision)>,
    /// What kind of caller it is, if that was asked.
    class: Option<CallerClass>,
}

impl ClientConnection {
    /// A client that has connected to a listener from `peer` and has sent nothing yet.
    pub(super) fn new(peer: SocketAddr, listener: u16) -> Self {
        Self { peer: Peer::unasked(peer), listener, decision: None, class: None }
    }

    /// Its identity, as far as it was looked up.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Its address, unless that is one of this host, which many owners share.
    pub(super) fn remote(&self, gatekeeper: &dyn Gatekeeper, now: impl FnOnce() -> BootTime) -> Option<Owner> {
        let address = self.peer.address.filter(|address| !caller_class::is_local(*address, gatekeeper, now))?;
        Some(Owner::Address(address.ip()))
    }

    /// Why it sees what it sees.
    pub(super) fn reason(&self) -> Arc<str> {
        self.decision.as_ref().map(|(_, decision)| Arc::clone(&decision.reason)).unwrap_or_default()
    }

    /// What kind of caller it is, as far as its identity was looked up.
    pub(super) fn class(&mut self, gatekeeper: &dyn Gatekeeper, now: BootTime) -> CallerClass {
        *self.class.get_or_insert_with(|| CallerClass::of(&self.peer, gatekeeper, now))
    }

    /// Whether its identity, or what the rules grant it, cannot be determined.
    pub(super) fn is_unknown(&self) -> bool {
        self.decision.as_ref().is_some_and(|(_, decision)| decision.grant == Grant::Unknown)
    }

    /// Identifies the client, if that was not done yet, or failed. Returns whether that may have changed anything.
    pub(super) fn identify(&mut self, gatekeeper: &dyn Gatekeeper, socket: &TcpStream, open: &mut Open<'_>) -> bool {
        let wanting = matches!(self.peer.origin, Origin::Unasked | Origin::Unknown { .. });
        if wanting {
            self.peer = gatekeeper.identify(socket, &self.peer, open);
            self.decision = None;
            self.class = None;
        }
        wanting
    }

    /// What is known of it, and what it may see.
    pub(super) fn context(&mut self, gatekeeper: &dyn Gatekeeper, request: &Request) -> RequestContext<'_> {
        let version = gatekeeper.version();
        let settled = |decision: &Decision| !matches!(decision.grant, Grant::Pending | Grant::Unknown);
        let valid = |(made_for, decision): &(u64, Decision)| *made_for == version && settled(decision);
        let decision = match self.decision.take().filter(valid) {
            Some((_, decision)) => decision,
            None => gatekeeper.admit(ConnectionFacts { listener: self.listener, peer: &self.peer }),
        };
        let (_, decision) = self.decision.insert((version, decision));
        let in_container = request_filter::is_for_containers(request) && gatekeeper.is_container(&self.peer);
        RequestContext { listener: self.listener, peer: &self.peer, grant: &decision.grant, in_container }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::{
        super::request::{Parsed, parse},
        *,
    };
    use crate::caller::containers::Container;

    /// Says one grant after the other, and how often it was asked.
    struct Grants(Vec<Grant>, AtomicUsize);

    impl Gatekeeper for Grants {
        fn asks_who(&self) -> bool {
            true
        }
        fn identify(&self, _socket: &TcpStream, peer: &Peer, _open: &mut Open<'_>) -> Peer {
            let asked = self.1.fetch_add(1, Ordering::Relaxed);
            let origin = if asked == 0 { Origin::Unknown { ours: true } } else { Origin::Elsewhere };
            Peer { origin, ..peer.clone() }
        }
        fn is_local(&self, _address: SocketAddr) -> bool {
            false
        }
        fn admit(&self, _facts: ConnectionFacts<'_>) -> Decision {
            let asked = self.1.fetch_add(1, Ordering::Relaxed);
            Decision { grant: self.0.get(asked).cloned().unwrap_or(Grant::Denied), reason: "".into() }
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

    #[test]
    fn a_decision_is_kept_but_what_was_not_known_is_asked_again() {
        let mut client = ClientConnection::new(([127, 0, 0, 1], 1).into(), 0);
        let gatekeeper = Grants(vec![Grant::Pending, Grant::Unknown, Grant::Everything], AtomicUsize::new(0));
        let Parsed::Whole(request, _) = parse(b"GET / HTTP/1.1\r\n\r\n", &[""; 2], &[]) else { panic!("a request") };
        for grant in [Grant::Pending, Grant::Unknown, Grant::Everything, Grant::Everything] {
            assert_eq!(*client.context(&gatekeeper, &request).grant, grant);
        }
        assert_eq!(gatekeeper.1.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_client_is_identified_once_or_until_it_can_be() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let gatekeeper = Grants(vec![], AtomicUsize::new(0));
        let mut client = ClientConnection::new(([127, 0, 0, 1], 1).into(), 0);
        let mut identify = || client.identify(&gatekeeper, &socket, &mut || Ok(0));
        assert_eq!([identify(), identify(), identify()], [true, true, false]);
        assert_eq!(client.peer().origin, Origin::Elsewhere);
    }
}
