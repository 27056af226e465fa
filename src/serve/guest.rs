//! Who is at the other end of a connection and what it may see: found out at its first request, kept to its end.

use std::{
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use super::view::Visitor;
use crate::{
    caller::{Open, Origin, Peer},
    policy::{ConnectionFacts, Decision, Gatekeeper, Grant},
};

/// The other end of a connection.
pub(super) struct Guest {
    peer: Peer,
    listener: u16,
    /// What it may see, and for which version of the gatekeeper that is so.
    decision: Option<(u64, Decision)>,
}

impl Guest {
    /// Somebody who came to a listener from `peer` and has said nothing yet.
    pub(super) fn new(peer: SocketAddr, listener: u16) -> Self {
        Self { peer: Peer::unasked(peer), listener, decision: None }
    }

    /// Who it is, as far as that was asked.
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Why it sees what it sees.
    pub(super) fn reason(&self) -> Arc<str> {
        self.decision.as_ref().map(|(_, decision)| Arc::clone(&decision.reason)).unwrap_or_default()
    }

    /// Whether it cannot be told who it is, or what the rules say of it.
    pub(super) fn is_unknown(&self) -> bool {
        self.decision.as_ref().is_some_and(|(_, decision)| decision.grant == Grant::Unknown)
    }

    /// Finds out who it is, if that was not asked, or could not be told. Whether that may have changed anything.
    pub(super) fn identify(&mut self, gatekeeper: &dyn Gatekeeper, socket: &TcpStream, open: &mut Open<'_>) -> bool {
        let wanting = matches!(self.peer.origin, Origin::Unasked | Origin::Unknown);
        if wanting {
            self.peer = gatekeeper.identify(socket, &self.peer, open);
            self.decision = None;
        }
        wanting
    }

    /// What is known of it, and what it may see.
    pub(super) fn visitor(&mut self, gatekeeper: &dyn Gatekeeper) -> Visitor<'_> {
        let version = gatekeeper.version();
        let valid = |(made_for, decision): &(u64, Decision)| *made_for == version && decision.grant != Grant::Pending;
        let decision = match self.decision.take().filter(valid) {
            Some((_, decision)) => decision,
            None => gatekeeper.admit(ConnectionFacts { listener: self.listener, peer: &self.peer }),
        };
        let (_, decision) = self.decision.insert((version, decision));
        Visitor { listener: self.listener, peer: &self.peer, grant: &decision.grant }
    }
}
