//! The containers of this host: listens to their runtimes on a thread of its own, and has their roles fetched.

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
        Tenants,
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

/// What listens to the runtimes, ready to be started.
pub(super) struct Listening {
    runtime: Runtime,
    watchers: Vec<Watcher>,
    mapping: Option<MappingFile>,
}

/// What is asked on the request path, and what keeps it true.
pub(super) fn build(
    config: &Containers,
    requests: RoleRequests,
    clock: &SharedClock,
) -> io::Result<(Tenants, Listening)> {
    let runtime = super::runtime()?;
    // Where a file decides, the runtimes are not asked.
    let sockets = if config.mapping_file.is_some() { &[][..] } else { &config.sockets };
    let index = ContainerIndex::new(sockets.len());
    let fetcher = Fetched {
        requests,
        source: config.source.clone(),
        via: config.via.clone(),
        duration: config.duration,
        runtime: runtime.handle().clone(),
    };
    let mapped = config.mapping_file.is_some();
    let roles = ContainerRoles::new(config.rules.clone(), Box::new(fetcher), Arc::clone(&index), mapped);
    let host_names = match config.host_name_pattern.as_deref().map(HostNames::new) {
        None => None,
        Some(Ok(names)) => Some(names),
        Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::InvalidInput, error)),
    };
    let watcher = |(number, socket): (usize, &PathBuf)| {
        let settings =
            Settings { socket: socket.clone(), variables: config.rules.variables(), host_names: host_names.clone() };
        let observer: Arc<dyn Observer> = Arc::clone(&roles) as _;
        Watcher::new(settings, &index, number, observer, Arc::clone(clock))
    };
    let watchers = sockets.iter().enumerate().filter_map(watcher).collect();
    let mapping = config.mapping_file.clone().map(|path| MappingFile { path, seen: None, roles: Arc::clone(&roles) });
    Ok((Tenants { index, roles }, Listening { runtime, watchers, mapping }))
}

impl Listening {
    /// Listens until `stopped` changes or the other side is gone.
    pub(super) fn start(self, mut stopped: watch::Receiver<()>) -> io::Result<thread::JoinHandle<()>> {
        let Self { runtime, watchers, mapping } = self;
        thread::Builder::new().name("containers".into()).spawn(move || {
            runtime.block_on(async {
                for watcher in watchers {
                    tokio::spawn(watcher.run());
                }
                if let Some(mapping) = mapping {
                    tokio::spawn(mapping.follow());
                }
                // An error, too, means that the other side is gone.
                let _gone = stopped.changed().await;
            });
            runtime.shutdown_background();
        })
    }
}

/// Has roles fetched by the refresher.
struct Fetched {
    requests: RoleRequests,
    source: Option<String>,
    via: Option<String>,
    duration: Option<Duration>,
    runtime: Handle,
}

impl Fetcher for Fetched {
    fn ensure(&self, ask: &Ask) -> RoleId {
        self.requests.ensure(OnDemand {
            source: self.source.clone(),
            via: self.via.clone(),
            external_id: ask.external_id.clone(),
            session_name: ask.session_name.clone(),
            duration: self.duration,
            ..OnDemand::new(ask.name.clone(), &*ask.role_arn)
        })
    }

    fn release(&self, role: &RoleId) {
        let (requests, role) = (self.requests.clone(), role.clone());
        self.runtime.spawn(async move {
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
                tracing::warn!("containers: {} maps {} address(es) to roles", self.path.display(), mapping.len());
                self.roles.map(&mapping);
            }
            Err(error) => {
                tracing::error!("containers: {}: {error}; what it said before stays in force", self.path.display());
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
