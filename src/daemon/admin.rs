//! The admin socket as part of the daemon.

use std::{
    io,
    net::TcpListener,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{sync::watch, task::JoinSet};

use super::{ReplaceableBy, keeper, replacement, token_key::Kept};

use crate::{
    admin::{
        self, Admin, AdminSocket, Conversations, ExecEndpoint, Leases, Listener, Replacing, SandboxStatus, Selections,
        TimedFetcher,
    },
    audit::Auditor,
    caller::Subordinates,
    clock::SharedClock,
    credentials::{RoleId, RoleName},
    handover::passing::PROTOCOL,
    http::{Counters, Face, OpenSocket, OpenSockets, Place},
    kubernetes::Watched,
    open_metrics::InForce,
    policy::{Choices, Gatekeeper},
    refresh::{RoleRequests, Timed},
    refresh_stats::RefreshStats,
    sign_in::SignIns,
    store::Store,
};

/// What is told at the socket.
pub(super) struct AdminParts {
    pub(super) store: Arc<Store>,
    pub(super) refresh_stats: Arc<RefreshStats>,
    pub(super) counters: Arc<Counters>,
    /// The service accounts of the cluster that is followed.
    pub(super) watched: Arc<Watched>,
    /// The configuration.
    pub(super) in_force: Arc<InForce>,
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
    /// Has it be looked at once whether the files in the run directory are there: at a reload, and when another process has not
    /// taken over.
    pub(super) looks: watch::Sender<()>,
    /// All sockets that listen.
    pub(super) open: OpenSockets,
    /// The requests that are being answered.
    pub(super) conversations: Conversations,
    /// The way to ask for what another process needs that takes the place of this one, if one may.
    pub(super) replaceable: Option<(RoleRequests, ReplaceableBy)>,
}

/// The sockets beside those of the faces.
#[derive(Debug, Default)]
pub struct AdminSockets {
    /// For the commands.
    pub socket: Option<AdminSocket>,
    /// For the metrics alone, and everybody.
    pub metrics: Option<Place>,
    /// What confines the daemon, which is shown at both.
    pub sandbox: Option<SandboxStatus>,
}

/// What the listener of the metrics is called among the sockets that listen.
pub const METRICS: &str = "metrics";

/// Ready when another process has taken the place of this one.
pub(super) type Replaced = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What users have chosen, as it was before a restart.
pub(super) fn selections(
    socket: Option<&AdminSocket>,
    choices: &Arc<Choices>,
    users: &Arc<Subordinates>,
    requests: &RoleRequests,
) -> io::Result<Selections> {
    Selections::beside(socket, choices, users, Arc::new(OwnSets(requests.clone())))
}

/// Has sets fetched that live as long as a user has chosen.
struct OwnSets(RoleRequests);

impl TimedFetcher for OwnSets {
    fn id(&self, uid: u32, role: &RoleName, duration: Duration) -> RoleId {
        Timed { role: role.clone(), uid, duration }.id()
    }

    fn ensure(&self, uid: u32, role: &RoleName, duration: Duration) -> RoleId {
        self.0.ensure(Timed { role: role.clone(), uid, duration })
    }

    fn release(&self, id: &RoleId) {
        self.0.release(id);
    }
}

/// Starts to answer at the sockets. The end of the tasks removes the one in the file system.
pub(super) fn start(
    sockets: AdminSockets,
    parts: AdminParts,
    clock: SharedClock,
    places: &[(Place, &'static dyn Face)],
) -> (JoinSet<()>, Replaced) {
    let listener = |(place, face): &(Place, &'static dyn Face)| {
        let address = place.address().ok()?.to_string();
        Some(Listener { face: face.name().to_owned(), address })
    };
    let AdminParts { kept, looks, open, .. } = parts;
    let place = sockets.socket.as_ref().map(AdminSocket::place);
    let replaceable = parts
        .replaceable
        .zip(place)
        .map(|((requests, by), place)| (requests, place, Replacing::new(PROTOCOL, by.account())));
    let (replacing, replaceable) = match replaceable {
        Some((requests, place, (replacing, meetings))) => (Some(replacing), Some((requests, place, meetings))),
        None => (None, None),
    };
    let admin = Admin {
        store: parts.store,
        refresh_stats: parts.refresh_stats,
        counters: parts.counters,
        watched: parts.watched,
        in_force: parts.in_force,
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
        sandbox: sockets.sandbox,
        conversations: parts.conversations,
        replacing,
    };
    let admin = Arc::new(admin);
    let replaced: Replaced = match replaceable {
        Some((requests, socket, meetings)) => {
            let (admin, clock, open) = (Arc::clone(&admin), Arc::clone(&clock), open.clone());
            let parts = replacement::Parts { admin, socket, requests, clock, open, looks: looks.clone() };
            Box::pin(replacement::replaced(meetings, parts))
        }
        None => Box::pin(std::future::pending()),
    };
    let mut tasks = JoinSet::new();
    if let Some(socket) = sockets.socket {
        let (admin, clock, open) = (Arc::clone(&admin), Arc::clone(&clock), open.clone());
        let seen = looks.subscribe();
        tasks.spawn(keeper::serve(admin, socket, clock, kept, seen, open));
    }
    if let Some(place) = sockets.metrics {
        tasks.spawn(async move {
            let listener = place.listener().await;
            let served = match show(&listener, &open) {
                Ok(()) => admin::serve_metrics(admin, listener, clock).await,
                failed => failed,
            };
            if let Err(error) = served {
                tracing::error!("the metrics cannot be served: {error}");
            }
        });
    }
    (tasks, replaced)
}

/// Has the listener of the metrics among the sockets that listen.
fn show(listener: &TcpListener, open: &OpenSockets) -> io::Result<()> {
    open.add(OpenSocket { name: METRICS.into(), awaited: false, socket: Arc::new(listener.try_clone()?) });
    Ok(())
}
