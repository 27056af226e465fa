//! What the daemon has in its run directory is made again if it disappears: `rm -r` of it, or a cleaner of temporary files,
//! would else take the admin socket away for good.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::token_key::Kept;
use crate::{
    admin::{self, Admin, AdminSocket, SocketId},
    clock::{self, SharedClock},
    http::{OpenSocket, OpenSockets},
};

/// How often it is looked whether it is there. A reload looks at once.
const LOOK: Duration = Duration::from_secs(15);

/// What the admin socket is called among those that listen; then comes which file it has.
pub const ADMIN: &str = "admin";

/// The file of the admin socket with that name among those that listen.
pub fn admin_file(name: &str) -> Option<SocketId> {
    name.strip_prefix(ADMIN)?.strip_prefix('-')?.parse().ok()
}

/// Answers at the admin socket, for ever, and makes it again if it disappears, with what else is kept in the directory.
pub(super) async fn serve(
    admin: Arc<Admin>,
    mut socket: AdminSocket,
    clock: SharedClock,
    key: Option<Arc<Kept>>,
    mut looks: watch::Receiver<()>,
    open: OpenSockets,
) {
    let mut shown = String::new();
    loop {
        let place = socket.place();
        open.remove(&shown);
        shown = format!("{ADMIN}-{}", place.id());
        // The one of a socket unit is there anyway.
        if !socket.is_of_unit()
            && let Err(error) = show(&socket, shown.clone(), &open)
        {
            tracing::warn!("a restart makes the admin socket anew: {error}");
        }
        tokio::select! {
            served = admin::serve(Arc::clone(&admin), socket, Arc::clone(&clock)) => {
                if let Err(error) = served {
                    tracing::error!("the admin socket cannot be used: {error}");
                }
                return;
            }
            () = until(|| !place.is_there(), &mut looks) => {}
        }
        let mut told = false;
        socket = loop {
            match place.bind_again() {
                Ok(socket) => break socket,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::error!(
                            "the admin socket has disappeared and cannot be created again, so no `alppaca status`, \
                             `credentials` \
                             and `exec`: {error}; trying again every {LOOK:?}, and at a reload"
                        );
                    }
                }
            }
            pause(&mut looks).await;
        };
        let kept = key.as_ref().map_or(Ok(()), |key| key.keep_again());
        if let Err(error) = kept {
            tracing::error!("the key of the IMDS tokens cannot be kept again, so they end with this process: {error}");
        }
        admin.leases.remember();
        admin.selections.remember();
        tracing::warn!("the admin socket had disappeared and was created again: {}", place.path().display());
    }
}

/// Has it among the sockets that listen.
fn show(socket: &AdminSocket, name: String, open: &OpenSockets) -> io::Result<()> {
    open.add(OpenSocket { name: name.into(), awaited: false, socket: Arc::new(socket.listener()?) });
    Ok(())
}

/// Ready when `over`.
async fn until(over: impl Fn() -> bool, looks: &mut watch::Receiver<()>) {
    while !over() {
        pause(looks).await;
    }
}

async fn pause(looks: &mut watch::Receiver<()>) {
    tokio::select! {
        () = clock::sleep(LOOK) => {}
        Ok(()) = looks.changed() => {}
    }
}
