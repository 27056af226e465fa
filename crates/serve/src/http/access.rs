//! The access log: a line for each request, bounded in its length and, for each owner, in number.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    answer::{Answer, Status},
    face::Face,
    request::Request,
};
use crate::{
    caller::{
        Owner, Peer,
        budget::{Allowance, Rate},
    },
    clock::Moment,
    logging::ACCESS,
    text::Cut,
};

/// How many lines an owner gets: enough for all that is not a flood.
const RATE: Rate = Rate { burst: 500, every: Duration::from_millis(50) };

/// The access log.
#[derive(Debug)]
pub(super) struct AccessLog {
    lines: Mutex<Allowance<Owner>>,
}

impl AccessLog {
    pub(super) fn new() -> Self {
        Self { lines: Mutex::new(Allowance::new(RATE)) }
    }

    /// A request of `peer` was answered.
    pub(super) fn request(&self, peer: &Peer, face: &dyn Face, request: &Request, answer: &Answer, now: Moment) {
        if self.has_room(peer, now) {
            tracing::info!(
                target: ACCESS,
                caller_uid = peer.uid(),
                caller_address = peer.address.map(tracing::field::display),
                face = face.name(),
                status = answer.status.code(),
                "{} \"{} {} HTTP/1.{}\" {} {} \"{}\"",
                peer.place(),
                Cut::for_log(request.method.as_bytes()),
                Cut::for_log(face.loggable(request.target).as_bytes()),
                u8::from(request.http11),
                answer.status.code(),
                answer.body.bytes().len(),
                Cut::for_log(request.user_agent.unwrap_or(b"-"))
            );
        }
    }

    /// What `peer` sent was no request.
    pub(super) fn malformed(&self, peer: &Peer, status: Status, now: Moment) {
        if self.has_room(peer, now) {
            tracing::info!(target: ACCESS, "{} - {} -", peer.place(), status.code());
        }
    }

    /// Whether there may be another line about `peer`. Says first how many there would have been.
    fn has_room(&self, peer: &Peer, now: Moment) -> bool {
        if !tracing::enabled!(target: ACCESS, tracing::Level::INFO) {
            return false;
        }
        // Nothing under the lock can panic half-way.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(more) = lines.spend(owner(peer), now.boot) else { return false };
        drop(lines);
        if more > 0 {
            tracing::info!(target: ACCESS, "{} - - {more} more request(s) before this one were not logged", peer.place());
        }
        true
    }
}

/// Whose budget a line takes from. Unidentified callers are known by address; all addresses of the
/// loopback interface are one host's.
fn owner(peer: &Peer) -> Owner {
    match (peer.owner(), peer.address) {
        (Owner::Nobody, Some(address)) if !address.ip().is_loopback() => Owner::Address(address.ip()),
        (owner, _) => owner,
    }
}
