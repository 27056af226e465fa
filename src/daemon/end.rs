//! What ends the daemon.

use std::io;

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{DaemonError, admin::Replaced};

pub(super) fn hangups(runtime: &Runtime) -> io::Result<Signal> {
    let _inside = runtime.enter();
    signal(SignalKind::hangup())
}

/// Ready when the terminal was closed; never where SIGHUP means something else.
pub(super) async fn hung_up(hangup: Option<Signal>) {
    match hangup {
        Some(mut hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Ready at the first SIGTERM or SIGINT. Further ones change nothing: stopping is bounded in time.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => notice!("stopping: SIGTERM"),
            _ = interrupt.recv() => notice!("stopping: SIGINT"),
        }
    })
}

/// Why a daemon ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Stopped,
    /// Another one has its place.
    Replaced,
    /// It must not be in the place of another.
    Refused(String),
}

impl End {
    /// What the daemon has come to.
    pub(super) fn result(self) -> Result<(), DaemonError> {
        match self {
            Self::Refused(why) => Err(DaemonError::NotReplaced(why)),
            Self::Stopped | Self::Replaced => Ok(()),
        }
    }
}

/// Ready when the daemon has to end.
pub(super) async fn end(
    stop: impl Future<Output = ()>,
    hung_up: impl Future<Output = ()>,
    replaced: Replaced,
    refused: oneshot::Receiver<String>,
) -> End {
    tokio::select! {
        Ok(why) = refused => End::Refused(why),
        () = stop => End::Stopped,
        () = hung_up => End::Stopped,
        () = replaced => End::Replaced,
    }
}
