//! The admin socket as part of the daemon.

use std::sync::{Arc, atomic::AtomicBool};

use arc_swap::ArcSwapOption;
use tokio::{sync::Notify, task::JoinSet};

use super::{keeper, token_key::Kept};

use crate::{
    admin::{self, Admin, AdminSocket, ExecEndpoint, Leases, Listener, Selections},
    audit::Auditor,
    caller::Subordinates,
    clock::SharedClock,
    http::{Counters, Face, Place},
    policy::Gatekeeper,
    refresh_stats::RefreshStats,
    sign_in::SignIns,
    store::Store,
};

/// What is told at the socket.
pub(super) struct AdminParts {
    pub(super) store: Arc<Store>,
    pub(super) refresh_stats: Arc<RefreshStats>,
    pub(super) counters: Arc<Counters>,
    pub(super) gatekeeper: Arc<dyn Gatekeeper>,
    pub(super) auditor: Arc<Auditor>,
    pub(super) leases: Leases,
    pub(super) selections: Selections,
    pub(super) subordinates: Arc<Subordinates>,
    pub(super) exec: Option<ExecEndpoint>,
    pub(super) region: Arc<ArcSwapOption<String>>,
    /// The key of the IMDS tokens in the run directory.
    pub(super) kept: Option<Arc<Kept>>,
    /// Whether the daemon has said that it is ready.
    pub(super) ready: Arc<AtomicBool>,
    /// Who has signed in.
    pub(super) sign_ins: SignIns,
    /// Told of each reload.
    pub(super) reloads: Arc<Notify>,
}

/// The sockets beside those of the faces.
#[derive(Debug, Default)]
pub struct AdminSockets {
    /// For the commands.
    pub socket: Option<AdminSocket>,
    /// For the metrics alone, and everybody.
    pub metrics: Option<Place>,
}

/// Starts to answer at the sockets. The end of the tasks removes the one in the file system.
pub(super) fn start(
    sockets: AdminSockets,
    parts: AdminParts,
    clock: SharedClock,
    places: &[(Place, &'static dyn Face)],
) -> JoinSet<()> {
    let listener = |(place, face): &(Place, &'static dyn Face)| {
        let address = place.address().ok()?.to_string();
        Some(Listener { face: face.name().to_owned(), address })
    };
    let AdminParts { kept, reloads, .. } = parts;
    let admin = Admin {
        store: parts.store,
        refresh_stats: parts.refresh_stats,
        counters: parts.counters,
        gatekeeper: parts.gatekeeper,
        auditor: parts.auditor,
        started: clock.now(),
        listeners: places.iter().filter_map(listener).collect(),
        region: parts.region,
        leases: parts.leases,
        selections: parts.selections,
        exec: parts.exec,
        own_uid: rustix::process::geteuid().as_raw(),
        ready: parts.ready,
        sign_ins: parts.sign_ins,
        subordinates: parts.subordinates,
        restricted: sockets.socket.as_ref().is_some_and(AdminSocket::is_restricted),
    };
    let admin = Arc::new(admin);
    let mut tasks = JoinSet::new();
    if let Some(socket) = sockets.socket {
        let (admin, clock) = (Arc::clone(&admin), Arc::clone(&clock));
        tasks.spawn(keeper::serve(admin, socket, clock, kept, reloads));
    }
    if let Some(place) = sockets.metrics {
        tasks.spawn(async move {
            if let Err(error) = admin::serve_metrics(admin, place.listener().await, clock).await {
                tracing::error!("the metrics cannot be served: {error}");
            }
        });
    }
    tasks
}
