//! The admin socket as part of the daemon.

use std::{
    io,
    net::TcpListener,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use alppaca_settings::Listen;
use arc_swap::ArcSwapOption;
use tokio::{runtime::Handle, sync::watch, task::JoinSet};

use super::{Daemon, ReplaceableBy, faces::Lasting, keeper, replacement, token_key::Kept};

use crate::{
    admin::{
        self, Admin, AdminSocket, Conversations, ExecEndpoint, Leases, Listener, Replacing, SandboxStatus, Selections,
        TimedFetcher,
    },
    audit::Auditor,
    caller::Subordinates,
    clock::SharedClock,
    credentials::{RoleId, RoleName},
    files::FileReports,
    handover::passing::PROTOCOL,
    host,
    http::{Counters, Face, OpenSocket, OpenSockets, Place},
    open_metrics::InForce,
    page::{self, Door, PageServer},
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
    /// What outlives the faces.
    pub(super) lasting: Lasting,
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
    /// How the files are that have credentials.
    pub(super) files: FileReports,
}

/// The sockets beside those of the faces.
#[derive(Debug, Default)]
pub struct AdminSockets {
    /// For the commands.
    pub socket: Option<AdminSocket>,
    /// For the metrics alone, and everybody.
    pub metrics: Option<Place>,
    /// For the status page, if there is one.
    pub page: Option<PageSockets>,
    /// What confines the daemon, which is shown at both.
    pub sandbox: Option<SandboxStatus>,
}

/// The sockets of the status page.
#[derive(Debug, Default)]
pub struct PageSockets {
    /// Over TCP.
    pub tcp: Vec<Place>,
    /// In the file system.
    pub unix: Vec<AdminSocket>,
    /// Host names under which it is shown.
    pub hosts: Vec<String>,
}

/// What the listener of the metrics is called among the sockets that listen.
pub const METRICS: &str = "metrics";
/// What those of the status page are called that are not in the file system.
pub const PAGE: &str = "page";

impl PageSockets {
    /// What a person opens.
    pub fn urls(&self) -> Vec<String> {
        page::urls(&self.places())
    }

    fn places(&self) -> Vec<Listen> {
        let tcp = self.tcp.iter().filter_map(|place| place.address().ok()).map(Listen::Tcp);
        tcp.chain(self.unix.iter().map(|socket| Listen::Unix(socket.path().to_owned()))).collect()
    }
}

impl Daemon {
    /// With sockets at which `status`, `credentials` and `exec` are answered, the metrics and the status page.
    #[must_use]
    pub fn with_admin(self, admin: AdminSockets) -> Self {
        if admin.page.is_some() {
            self.refresher.refresh_stats().remember();
        }
        Self { admin, ..self }
    }
}

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

/// Starts to answer at the sockets; the status page is served `beside` the requests of programs. The end of the tasks removes
/// those in the file system.
pub(super) fn start(
    sockets: AdminSockets,
    parts: AdminParts,
    clock: SharedClock,
    beside: &Handle,
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
        watched: parts.lasting.watched,
        pod_sessions: parts.lasting.pod_sessions,
        in_force: parts.in_force,
        gatekeeper: parts.gatekeeper,
        auditor: parts.auditor,
        host: host::hostname().unwrap_or_else(|| "this host".to_owned()),
        started: clock.now(),
        listeners: places.iter().filter_map(listener).collect(),
        status_page: sockets.page.as_ref().map(PageSockets::places).unwrap_or_default(),
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
        files: parts.files,
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
    if let Some(page) = sockets.page {
        show_page(page, &admin, &clock, &open, (&mut tasks, beside));
    }
    if let Some(socket) = sockets.socket {
        let (admin, clock, open) = (Arc::clone(&admin), Arc::clone(&clock), open.clone());
        let seen = looks.subscribe();
        tasks.spawn(keeper::serve(admin, socket, clock, kept, seen, open));
    }
    if let Some(place) = sockets.metrics {
        tasks.spawn(async move {
            let listener = place.listener().await;
            let served = match show(&listener, METRICS, &open) {
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

/// Serves the status page. A page of a thousand roles is made apart from the requests of programs.
fn show_page(
    sockets: PageSockets,
    admin: &Arc<Admin>,
    clock: &SharedClock,
    open: &OpenSockets,
    (tasks, beside): (&mut JoinSet<()>, &Handle),
) {
    admin.counters.remember_callers();
    let of = Arc::clone(admin);
    let server = PageServer::new(sockets.hosts, Arc::clone(clock), move |now| of.overview(now));
    let told = |served: io::Result<()>| {
        if let Err(error) = served {
            tracing::error!("the status page cannot be served: {error}");
        }
    };
    for place in sockets.tcp {
        let (server, open) = (Arc::clone(&server), open.clone());
        let served = async move {
            let listener = place.listener().await;
            show(&listener, PAGE, &open)?;
            server.serve(Door::Tcp(listener)).await
        };
        tasks.spawn_on(async move { told(served.await) }, beside);
    }
    for socket in sockets.unix {
        let served = admin::serve_page(Arc::clone(&server), socket);
        tasks.spawn_on(async move { told(served.await) }, beside);
    }
}

/// Has a listener among the sockets that listen.
fn show(listener: &TcpListener, name: &'static str, open: &OpenSockets) -> io::Result<()> {
    open.add(OpenSocket { name: name.into(), awaited: false, socket: Arc::new(listener.try_clone()?) });
    Ok(())
}
