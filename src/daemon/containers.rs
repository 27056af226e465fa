//! The containers of this host: listens to their runtimes on a thread of its own, and has their roles fetched. With other
//! settings another listener takes the place of the present one as soon as it knows who runs.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Handle, Runtime},
    sync::watch,
};

use crate::{
    caller::containers::{ContainerIndex, HostNames, Observer, Settings, Watcher},
    clock::{self, SharedClock},
    config::Containers,
    credentials::RoleId,
    policy::{
        ContainerPolicy,
        containers::{Ask, ContainerRoles, Fetcher, Rules, parse_mapping},
    },
    refresh::{OnDemand, RoleRequests},
};

/// A role is kept for so long after its last container: most are started again, or another one like them.
const LINGER: Duration = Duration::from_mins(1);
/// How often the mapping file is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The longest mapping file that is read.
const MAX_MAPPING: u64 = 16 * 1024 * 1024;

/// How long a listener with other settings may take to find out who runs before it takes the place of the present one.
const SETTLING: Duration = Duration::from_secs(2);

/// What is needed to listen, whatever to.
#[derive(Clone)]
pub(super) struct ContainerDeps {
    pub(super) requests: RoleRequests,
    pub(super) clock: SharedClock,
    /// Where roles that were given back linger.
    pub(super) lingering: Handle,
}

/// Who listens to the runtimes, ready to be started.
pub(super) struct Listener {
    container_policy: ContainerPolicy,
    runtime: Runtime,
    watchers: Vec<Watcher>,
    mapping: Option<MappingFile>,
}

/// One that listens. It ends when it is dropped.
pub(super) struct Listening {
    container_policy: ContainerPolicy,
    /// Dropped first: that ends the thread.
    stop: Option<watch::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What is asked on the request path, and what keeps it true.
pub(super) fn build(config: &Containers, deps: &ContainerDeps) -> io::Result<Listener> {
    let runtime = super::runtime()?;
    // Where a file decides, the runtimes are not asked.
    let sockets = if config.mapping_file.is_some() { &[][..] } else { &config.sockets };
    let index = ContainerIndex::new(sockets.len());
    let fetcher = Fetched {
        requests: deps.requests.clone(),
        source: config.source.clone(),
        via: config.via.clone(),
        duration: config.duration,
        lingering: deps.lingering.clone(),
    };
    let mapped = config.mapping_file.is_some();
    let roles = ContainerRoles::new(config.rules.clone(), Box::new(fetcher), Arc::clone(&index), mapped);
    let host_names = match config.host_name_pattern.as_deref().map(HostNames::new) {
        None => None,
        Some(Ok(names)) => Some(names),
        Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::InvalidInput, error)),
    };
    let watcher = |(number, socket): (usize, &PathBuf)| {
        let settings = Settings {
            socket: socket.clone(),
            variables: config.rules.variables(),
            host_names: host_names.clone(),
            address_label: config.address_label.clone(),
            accept_unverified: config.accept_unverified,
        };
        let observer: Arc<dyn Observer> = Arc::clone(&roles) as _;
        Watcher::new(settings, &index, number, observer, Arc::clone(&deps.clock))
    };
    let watchers = sockets.iter().enumerate().filter_map(watcher).collect();
    let mapping = config.mapping_file.clone().map(|path| MappingFile { path, seen: None, roles: Arc::clone(&roles) });
    Ok(Listener { container_policy: ContainerPolicy { index, roles }, runtime, watchers, mapping })
}

impl Listener {
    /// Whether a running daemon can go by it: a mapping file with a mistake would take away all roles.
    pub(super) fn check(&self) -> Result<(), String> {
        let Some(MappingFile { path, roles, .. }) = &self.mapping else { return Ok(()) };
        let told = |error| format!("{}: {error}", path.display());
        read_mapping(path, roles.rules()).map(|_mapping| ()).map_err(told)
    }

    /// What is asked on the request path.
    pub(super) fn container_policy(&self) -> ContainerPolicy {
        self.container_policy.clone()
    }

    pub(super) fn start(self) -> io::Result<Listening> {
        let Self { container_policy, runtime, watchers, mapping } = self;
        let (stop, mut stopped) = watch::channel(());
        let thread = thread::Builder::new().name("containers".into()).spawn(move || {
            runtime.block_on(async {
                for watcher in watchers {
                    tokio::spawn(watcher.run());
                }
                if let Some(mapping) = mapping {
                    tokio::spawn(mapping.follow());
                }
                // An error means that the other side is gone.
                let _gone = stopped.changed().await;
            });
            runtime.shutdown_background();
        })?;
        Ok(Listening { container_policy, stop: Some(stop), thread: Some(thread) })
    }
}

impl Listening {
    /// What is asked on the request path.
    pub(super) fn container_policy(&self) -> ContainerPolicy {
        self.container_policy.clone()
    }

    /// Ready when it knows who runs, or when that takes too long.
    pub(super) async fn settled(&self) {
        let settled = async {
            loop {
                let (index, roles) = (self.container_policy.index.changed(), self.container_policy.roles.changes());
                if self.container_policy.index.is_live() && self.container_policy.roles.is_settled() {
                    return;
                }
                tokio::select! {
                    () = index => {}
                    () = roles => {}
                }
            }
        };
        // If a runtime is silent, there is nobody to wait for.
        let _late = tokio::time::timeout(SETTLING, settled).await;
    }
}

impl Drop for Listening {
    /// Ends it and gives its roles back.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
        self.container_policy.roles.give_back();
    }
}

/// Has roles fetched by the refresher.
struct Fetched {
    requests: RoleRequests,
    source: Option<String>,
    via: Option<String>,
    duration: Option<Duration>,
    lingering: Handle,
}

impl Fetcher for Fetched {
    fn ensure(&self, ask: &Ask) -> RoleId {
        self.requests.ensure(OnDemand {
            source: self.source.clone(),
            via: self.via.clone(),
            external_id: ask.external_id.clone(),
            session_name: ask.session_name.clone(),
            duration: self.duration,
            ..OnDemand::new(ask.name.clone(), ask.role_arn.clone())
        })
    }

    fn release(&self, role: &RoleId) {
        let (requests, role) = (self.requests.clone(), role.clone());
        self.lingering.spawn(async move {
            clock::sleep(LINGER).await;
            requests.release(&role);
        });
    }
}

/// The mapping file, which is read again when it changes.
struct MappingFile {
    path: PathBuf,
    /// What it looked like when it was read, or the error that was told.
    seen: Option<Result<Stamp, String>>,
    roles: Arc<ContainerRoles>,
}

/// What tells that a file is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl MappingFile {
    async fn follow(mut self) {
        loop {
            self.look();
            clock::sleep(LOOK_AGAIN).await;
        }
    }

    /// Reads it if it has changed. What was read before stays in force while it cannot be read.
    fn look(&mut self) {
        let stamp = stamp(&self.path).map_err(|error| error.to_string());
        if self.seen.as_ref() == Some(&stamp) {
            return;
        }
        let read = stamp.clone().and_then(|_| read_mapping(&self.path, self.roles.rules()));
        match read {
            Ok(mapping) => {
                notice!("containers: {} maps {} address(es) to roles", self.path.display(), mapping.len());
                self.roles.map(&mapping);
            }
            Err(error) => {
                tracing::error!("containers: {}: {error}; the previous content stays in force", self.path.display());
            }
        }
        self.seen = Some(stamp);
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt;

    let metadata = std::fs::metadata(path)?;
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    Ok(Stamp { inode: metadata.ino(), length: metadata.len(), modified })
}

type Mapped = std::collections::BTreeMap<std::net::IpAddr, Ask>;

fn read_mapping(path: &Path, rules: &Rules) -> Result<Mapped, String> {
    use io::Read;

    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_MAPPING).read_to_end(&mut text).map_err(|error| error.to_string())?;
    parse_mapping(&text, rules).map_err(|error| error.to_string())
}
