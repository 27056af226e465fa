//! Takes over what the daemon before this one has left, and leaves the same to the one after it.

use std::{io, os::unix::net::UnixStream, path::PathBuf, sync::Arc};

use tokio::runtime::Runtime;

use super::{Daemon, DaemonError, ReplaceableBy, carryover};
use crate::{
    config::{self, Upstreams},
    handover,
    http::{OpenSocket, OpenSockets},
    refresh::{Carryover, Handover},
};

/// The daemon that this one replaces.
pub struct Turn {
    /// Whether it has ended, or does not want to be replaced any more: there is something to read. It does not block.
    pub over: UnixStream,
    /// Asks it to change nothing any more: this one is ready. An error says why this one must not serve.
    pub ask: Box<dyn FnOnce() -> Result<(), String> + Send>,
}

/// Is given all sockets that listen, each time that there are others.
pub type KeepSockets = Box<dyn FnMut(&[OpenSocket]) + Send>;

impl Daemon {
    /// Serves what another daemon has handed over until there is something newer, as far as this configuration still names
    /// it.
    #[must_use]
    pub fn after(mut self, handover: Handover) -> Self {
        let text = handover.configuration.to_string();
        let old = match config::parse(vec![(PathBuf::from("the configuration before"), text)]) {
            Ok(loaded) => loaded.config.upstreams,
            Err(errors) => {
                tracing::warn!("nothing is taken over from before the restart: {errors}");
                return self;
            }
        };
        let new = &self.config.upstreams;
        let roles = carryover::of_roles(&old, new);
        let roles = |id: &str| roles.get(id).copied().unwrap_or(Carryover::Discard);
        let sets = handover.sets.len();
        self.refresher.take_over_from(handover, roles, carryover::of_listed(&old, new), on_demand(&old, new));
        notice!("{sets} set(s) of credentials were held before the restart and are served on");
        self
    }

    /// Has `keep` keep what the next daemon takes over, each time that it has changed.
    #[must_use]
    pub fn leaving_to(mut self, mut keep: impl FnMut(&[u8]) + Send + 'static) -> Self {
        let clock = Arc::clone(&self.clock);
        let hand_over = Box::new(move |handover: Handover| keep(&handover::write(&handover, clock.now())));
        self.refresher = self.refresher.with_hand_over(hand_over);
        self
    }

    /// Has `keep` keep the sockets that listen.
    #[must_use]
    pub fn keeping_sockets(self, keep: KeepSockets) -> Self {
        Self { keep_sockets: Some(keep), ..self }
    }

    /// Whose processes can replace it; by default none's.
    #[must_use]
    pub fn replaceable(self, by: Option<ReplaceableBy>) -> Self {
        Self { replaceable: by, ..self }
    }

    /// One that takes the place of another, if there is one, which `turn` asks when this one is ready.
    #[must_use]
    pub fn instead_of_another(self, turn: Option<Turn>) -> Self {
        Self { turn, ..self }
    }
}

impl Turn {
    /// Waits until this daemon is `prepared`, or until the other one has ended, and asks it.
    pub(super) fn take(self, runtime: &Runtime, prepared: impl Future<Output = ()>) -> Result<(), DaemonError> {
        let waited: io::Result<()> = runtime.block_on(async {
            let over = tokio::net::UnixStream::from_std(self.over)?;
            tokio::select! {
                () = prepared => Ok(()),
                over = over.readable() => over,
            }
        });
        waited?;
        (self.ask)().map_err(DaemonError::NotReplaced)
    }
}

/// Has the sockets kept, for ever.
pub(super) async fn keep(open: OpenSockets, mut keep: KeepSockets) {
    let mut changes = open.follow();
    loop {
        keep(&changes.borrow_and_update());
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Which of the sources a role on demand was made with is not known here: if one of them has become something else, none of
/// them is believed.
fn on_demand(old: &Upstreams, new: &Upstreams) -> Carryover {
    let replaced = new
        .sources
        .iter()
        .any(|source| old.source(&source.name).is_some_and(|before| before.kind.word() != source.kind.word()));
    match old == new {
        true => Carryover::Unchanged,
        false if replaced => Carryover::Discard,
        false => Carryover::Refetch,
    }
}
