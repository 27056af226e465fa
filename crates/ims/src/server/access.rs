//! The lines of the log about requests, bounded in number for each client.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{header::USER_AGENT, request::Parts};

use super::{audit::place, client::Client};
use crate::{
    budget::{Allowance, Rate},
    clock::Moment,
    logging::ACCESS,
    protocol::Answer,
    text::Cut,
};

/// How many lines a client gets: enough for all that is not a flood. A load balancer is one client.
const RATE: Rate = Rate { burst: 1000, every: Duration::from_millis(5) };

/// What is logged of requests.
#[derive(Debug)]
pub(super) struct AccessLog {
    lines: Mutex<Allowance<String>>,
}

impl AccessLog {
    pub(super) fn new() -> Self {
        Self { lines: Mutex::new(Allowance::new(RATE)) }
    }

    /// A request was answered.
    pub(super) fn request(&self, client: &Client, name: Option<&str>, head: &Parts, answer: &Answer, now: Moment) {
        if !self.has_room(client, now) {
            return;
        }
        let agent = head.headers.get(USER_AGENT).map_or(b"-".as_slice(), |value| value.as_bytes());
        let target = head.uri.path_and_query().map_or("*", |path| path.as_str());
        tracing::info!(
            target: ACCESS,
            caller = name,
            caller_address = %place(&client.peer),
            status = answer.status.as_u16(),
            "{} {} \"{} {}\" {} {} \"{}\"",
            place(&client.peer),
            Cut::for_log(name.unwrap_or("-").as_bytes()),
            Cut::for_log(head.method.as_str().as_bytes()),
            Cut::for_log(target.as_bytes()),
            answer.status.as_u16(),
            answer.body.bytes().len(),
            Cut::for_log(agent)
        );
    }

    /// A warning about a request, such as why it was denied.
    pub(super) fn warn(&self, client: &Client, name: Option<&str>, text: &str, now: Moment) {
        if self.has_room(client, now) {
            tracing::warn!(caller = name, caller_address = %place(&client.peer), "{}: {text}", place(&client.peer));
        }
    }

    /// Whether there may be another line about `client`. Says first how many there would have been.
    fn has_room(&self, client: &Client, now: Moment) -> bool {
        let peer = place(&client.peer);
        // Nothing under the lock can panic half-way.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(more) = lines.spend(peer.clone(), now.boot) else { return false };
        drop(lines);
        if more > 0 {
            tracing::info!(target: ACCESS, "{peer} - {more} more line(s) before this one were not logged");
        }
        true
    }
}
