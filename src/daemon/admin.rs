//! The admin socket as part of the daemon.

use std::{net::TcpListener, sync::Arc};

use tokio::task::JoinHandle;

use crate::{
    admin::{self, Admin, AdminSocket, Listener},
    clock::SharedClock,
    serve::Face,
    store::Store,
};

/// Starts to answer at `socket`. Aborting the task removes the socket.
pub(super) fn start(
    socket: AdminSocket,
    store: Arc<Store>,
    clock: SharedClock,
    listeners: &[(TcpListener, Face)],
) -> JoinHandle<()> {
    let told = |(listener, face): &(TcpListener, Face)| {
        let address = listener.local_addr().ok()?.to_string();
        Some(Listener { face: face.as_str().to_owned(), address })
    };
    let admin = Admin {
        store,
        started: clock.now(),
        listeners: listeners.iter().filter_map(told).collect(),
        own_uid: rustix::process::geteuid().as_raw(),
        restricted: socket.is_restricted(),
    };
    tokio::spawn(async move {
        if let Err(error) = admin::serve(Arc::new(admin), socket, clock).await {
            tracing::error!("the admin socket cannot be used: {error}");
        }
    })
}
