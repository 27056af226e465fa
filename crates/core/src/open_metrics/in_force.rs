//! Which configuration is in force, and whether the last attempt to read another one has failed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::Page;

/// The configuration of a program that can be told to read it again.
#[derive(Debug)]
pub struct InForce(Mutex<State>);

#[derive(Debug)]
struct State {
    hash: String,
    since: Timestamp,
    failed: bool,
}

impl InForce {
    /// A configuration with this `hash` is in force since then.
    pub fn new(hash: String, since: Timestamp) -> Self {
        Self(Mutex::new(State { hash, since, failed: false }))
    }

    /// Another one has taken its place.
    pub fn replaced(&self, hash: String, at: Timestamp) {
        *self.state() = State { hash, since: at, failed: false };
    }

    /// Another one was read, and is wrong.
    pub fn kept(&self) {
        self.state().failed = true;
    }

    /// Appends its metrics, whose names are in this order: `…_info`, `…_reload_success_timestamp_seconds`, `…_reload_failed`.
    pub fn render(&self, page: &mut Page, [info, since, failed]: [&'static str; 3]) {
        let state = self.state();
        page.info(info, "The configuration in force: its digest, without secrets.").put(&[("hash", &state.hash)], 1);
        page.gauge(since, "Since when it is in force.").put(&[], state.since.as_second());
        page.gauge(failed, "Whether the last reload was refused, so that an older configuration is in force.")
            .put(&[], u8::from(state.failed));
    }

    /// The hash, since when it is in force, and whether another one was refused.
    pub fn shown(&self) -> (String, Timestamp, bool) {
        let state = self.state();
        (state.hash.clone(), state.since, state.failed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
