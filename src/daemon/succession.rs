//! Takes over what the daemon before this one has left, and leaves the same to the one after it.

use std::{io, os::unix::net::UnixStream, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    runtime::Runtime,
    time::timeout,
};

use super::{
    Daemon, DaemonError, ReplaceableBy, carryover,
    replacement::{PREPARATION, line},
};
use crate::{
    config::{self, Upstreams},
    handover::{
        self,
        passing::{DONE, GO, NO, READY},
    },
    http::{OpenSocket, OpenSockets},
    refresh::{Carryover, Handover},
    sign_in::SignIns,
};

/// How long the daemon that is to be replaced has to say that it changes nothing any more.
const PATIENCE: Duration = Duration::from_secs(15);

/// The connection to the daemon that this one replaces, which has said what it has.
pub struct Turn(pub UnixStream);

/// The same after that daemon has changed its last.
pub(super) struct Succession {
    stream: BufReader<tokio::net::UnixStream>,
    sign_ins: SignIns,
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
        let lister = carryover::of_listed(&old, new);
        let others = carryover::of_others(&old, new);
        let roles = move |id: &str| roles.get(id).copied().unwrap_or(others);
        let sets = handover.sets.len();
        self.refresher.take_over_from(handover, roles, lister, on_demand(&old, new));
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

    /// One that takes the place of another, if there is one.
    #[must_use]
    pub fn instead_of_another(self, turn: Option<Turn>) -> Self {
        if turn.is_some() {
            // The other one renews them still.
            self.sign_ins.hold();
        }
        Self { turn, ..self }
    }
}

impl Turn {
    /// Waits until this daemon is `prepared`, or until the other one has ended, and asks that one to change nothing any more. An
    /// error says why this one must not serve. Meanwhile `sign_ins` are the other one's.
    pub(super) fn take(
        self,
        runtime: &Runtime,
        prepared: impl Future<Output = ()>,
        sign_ins: &SignIns,
    ) -> Result<Succession, DaemonError> {
        let asked: io::Result<_> = runtime.block_on(async {
            self.0.set_nonblocking(true)?;
            let mut stream = BufReader::new(tokio::net::UnixStream::from_std(self.0)?);
            tokio::select! {
                // That one would not wait for longer.
                _ = timeout(PREPARATION / 2, prepared) => {}
                over = stream.get_ref().readable() => over?,
            }
            // If it has ended, that is what is read.
            let _ended = stream.write_all(format!("{READY}\n").as_bytes()).await;
            let said = timeout(PATIENCE, line(&mut stream)).await??;
            Ok((stream, said))
        });
        match asked {
            Ok((stream, said)) if said == GO => Ok(Succession { stream, sign_ins: sign_ins.clone() }),
            Ok((_, said)) if said == NO => {
                Err(DaemonError::NotReplaced("the daemon that was to be replaced goes on".to_owned()))
            }
            Ok(_) => Err(DaemonError::NotReplaced("the daemon that was to be replaced has ended".to_owned())),
            Err(error) => {
                Err(DaemonError::NotReplaced(format!("the daemon that was to be replaced does not answer: {error}")))
            }
        }
    }
}

impl Succession {
    /// Says that this daemon serves, and has what the other one was the last to change. An error says why it must not serve.
    pub(super) async fn conclude(mut self) -> Result<(), String> {
        // One that was killed meanwhile says nothing: then this one serves.
        let _ended = self.stream.write_all(format!("{DONE}\n").as_bytes()).await;
        if line(&mut self.stream).await.is_ok_and(|said| said == NO) {
            return Err("the daemon that was to be replaced goes on, or was stopped".to_owned());
        }
        self.sign_ins.take_over();
        Ok(())
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
