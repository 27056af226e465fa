//! What the service manager has kept of the daemon that ran before, and has kept for the one that comes next.

use zeroize::Zeroizing;

use super::{environment, sockets::Sockets};
use crate::{
    clock::Moment,
    daemon::Daemon,
    handover::{self, FdStore, FdStoreError},
    refresh::Handover,
};

/// A file that a daemon before this one has left.
pub(super) struct LeftFile {
    /// The name under which it was kept.
    pub(super) name: String,
    /// What is in it.
    pub(super) content: Result<Zeroizing<Vec<u8>>, FdStoreError>,
}

/// What was kept, and where more is kept.
pub(super) struct Kept {
    /// The newest that can be used.
    handover: Option<Handover>,
    /// None without a service manager.
    store: Option<FdStore>,
}

impl Kept {
    /// Has `daemon` take over what was kept, and has it and the `sockets` kept again.
    pub(super) fn passed_on(self, mut daemon: Daemon, sockets: &Sockets) -> Daemon {
        if let Some(store) = self.store {
            if let Err(error) = sockets.keep_open() {
                tracing::warn!("a restart closes the addresses that no socket unit has: {error}");
            }
            daemon = daemon.leaving_to(keeper(store));
        }
        match self.handover {
            Some(handover) => daemon.after(handover),
            None => daemon,
        }
    }
}

/// Reads the files that were left. One that cannot be used is ignored, which the log says.
pub(super) fn kept(left: Vec<LeftFile>, now: Moment) -> Kept {
    let mut newest = None;
    for LeftFile { name, content } in left {
        let read = content.map_err(|error| error.to_string());
        match read.and_then(|bytes| handover::read(&bytes, now).map_err(|error| error.to_string())) {
            Ok((written, handover)) => {
                if newest.as_ref().is_none_or(|(_, before, _)| *before < written) {
                    newest = Some((name, written, handover));
                }
            }
            Err(problem) => tracing::warn!("what was kept over the restart ({name}) is not used: {problem}"),
        }
    }
    let name = newest.as_ref().map(|(name, ..)| &**name);
    let store = environment::has_service_manager().then(|| FdStore::after(name));
    Kept { handover: newest.map(|(_, _, handover)| handover), store }
}

/// Keeps what it is given in `store`. A failure is logged once, until it works again.
fn keeper(mut store: FdStore) -> impl FnMut(&[u8]) + Send + 'static {
    let mut failing = false;
    move |bytes| match store.keep(bytes) {
        Ok(()) => failing = false,
        Err(error) if std::mem::replace(&mut failing, true) => tracing::debug!("still not kept: {error}"),
        Err(error) => tracing::warn!("a restart would lose the credentials: they cannot be kept over it: {error}"),
    }
}
