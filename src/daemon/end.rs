//! What ends the daemon.

use std::io;

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::admin::Replaced;

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

/// Ready when the daemon has to end; says why it must not be in the place of another, if that is the reason.
pub(super) async fn end(
    stop: impl Future<Output = ()>,
    hung_up: impl Future<Output = ()>,
    replaced: Replaced,
    refused: oneshot::Receiver<String>,
) -> Option<String> {
    tokio::select! {
        Ok(why) = refused => return Some(why),
        () = stop => {}
        () = hung_up => {}
        () = replaced => {}
    }
    None
}
