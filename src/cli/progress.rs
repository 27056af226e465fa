//! Reports how the daemon gets on: to the service manager, and to whoever started it in the background.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alppaca_command::service_manager::notify;
use sd_notify::NotifyState;

use crate::{
    admin::SocketPlace,
    daemon::Progress,
    service::{Background, PidFile},
    store::Store,
};

/// Microseconds that the service manager gives a daemon that waits for an address, counted from each time that it says so.
const STILL_STARTING: u32 = 60_000_000;
/// What the shipped units allow a start (`TimeoutStartSec=`).
const ALLOWED: Duration = Duration::from_mins(1);
/// How long beyond `ready_wait` a start may take.
const START: Duration = Duration::from_secs(30);

/// What is done when something has come about.
pub(super) struct Service {
    background: Option<Background>,
    pid_file: Option<PidFile>,
    /// Whether readiness has been reported.
    ready: Arc<AtomicBool>,
    /// The sockets in the file system, if this daemon replaces another.
    sockets: Vec<SocketPlace>,
}

impl Service {
    /// `sockets` are those of a daemon that replaces another; `ready` is set with the report.
    pub(super) fn new(background: Option<Background>, ready: Arc<AtomicBool>, sockets: Vec<SocketPlace>) -> Self {
        Self { background, pid_file: None, ready, sockets }
    }
}

/// Tells the service manager when the configuration is read again and when that is over, as `Type=notify-reload` wants
/// it. While the daemon starts, READY would mean something else.
/// <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>
pub(super) fn reload_notice(ready: Arc<AtomicBool>) -> Box<dyn FnMut(bool) + Send> {
    Box::new(move |begins| match NotifyState::monotonic_usec_now() {
        _ if !ready.load(Ordering::Relaxed) => {}
        Ok(now) if begins => notify(&[NotifyState::Reloading, now]),
        Err(error) if begins => tracing::warn!("cannot notify the service manager: {error}"),
        _ => notify(&[NotifyState::Ready]),
    })
}

impl Progress for Service {
    fn takes_place(&mut self) {
        // First of all: the other one removes a pid file that is still its own when it ends.
        let renamed = self.background.as_mut().map_or(Ok(()), Background::replaces);
        if let Err(error) = renamed {
            tracing::error!("the pid file is that of the daemon before: {error}");
        }
        for error in self.sockets.iter().filter_map(|socket| socket.take_place().err()) {
            tracing::error!("nobody can connect there: {error}");
        }
    }

    fn ready(&mut self, fetched: bool) {
        if !fetched {
            tracing::error!("no credentials could be fetched yet; serving without them");
        }
        notify(&[NotifyState::Ready]);
        self.ready.store(true, Ordering::Relaxed);
        // From now on they are nobody else's.
        self.sockets.drain(..).for_each(|socket| socket.set_stays(false));
        if let Some(background) = self.background.take() {
            match background.ready() {
                Ok(pid_file) => self.pid_file = Some(pid_file),
                Err(error) => tracing::error!("cannot report that the daemon is ready: {error}"),
            }
        }
    }

    fn awaits(&mut self, ready_wait: Duration) {
        let longest = ready_wait + START;
        if longest > ALLOWED {
            // Not `ExtendTimeoutUsec`, in which there is room for little more than an hour.
            notify(&[NotifyState::Custom(&format!("EXTEND_TIMEOUT_USEC={}", longest.as_micros()))]);
        }
    }

    fn waits(&mut self) {
        // Starting takes as long as somebody else has the address.
        notify(&[NotifyState::ExtendTimeoutUsec(STILL_STARTING)]);
    }

    fn changed(&mut self, _store: &Store) {
        // With its directory, of which the admin socket is made again.
        let kept = self.pid_file.as_mut().map_or(Ok(()), PidFile::keep);
        if let Err(error) = kept {
            tracing::debug!("the pid file is not that of this process: {error}");
        }
    }

    fn status(&mut self, line: &str) {
        tracing::info!("{line}");
        notify(&[NotifyState::Status(line)]);
    }
}
