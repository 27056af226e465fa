//! All files: begins, replaces and ends the work on each.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

use crate::{
    clock::{BootTime, SharedClock},
    file::{Sink, Witness},
    follow::{Work, follow, remove},
    place::FileError,
    record::{record, recorded},
    report::{FileReports, begin},
    store::Store,
    trust::Trust,
};

/// How long the end of the daemon, or a reload, waits for files that are removed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Why a file is removed.
const NOT_CONFIGURED: &str = "the configuration does not name it any more";
const STOPPED: &str = "the daemon stops";

/// What is needed to keep files.
#[derive(Clone)]
pub struct Setup {
    /// What has their roles.
    pub store: Arc<Store>,
    /// The time.
    pub clock: SharedClock,
    /// Who may change the directories that they are in.
    pub trust: Trust,
    /// The run directory, in which it is recorded which files there are.
    pub run_dir: PathBuf,
    /// How long files that a daemon before this one has left wait for their roles.
    pub settle: Duration,
    /// What shows how they are.
    pub reports: FileReports,
    /// What takes note of each change, and may withhold credentials.
    pub witness: Witness,
    /// Where the work is done.
    pub runtime: Handle,
}

/// The files of a daemon that serves.
pub struct Files {
    setup: Setup,
    running: Vec<Running>,
    settled: BootTime,
}

struct Running {
    work: Arc<Work>,
    tasks: Vec<AbortHandle>,
}

/// A removal that is under way, of that file.
type Removal = (PathBuf, JoinHandle<Result<bool, FileError>>);

impl Running {
    fn end(self) -> Arc<Work> {
        self.work.stop();
        self.tasks.iter().for_each(AbortHandle::abort);
        self.work
    }
}

impl Files {
    /// Begins to keep these files, and removes those that a daemon before this one has left behind otherwise.
    pub async fn begin(setup: Setup, sinks: Vec<Sink>) -> Self {
        let settled = setup.clock.boot() + setup.settle;
        let run_dir = setup.run_dir.clone();
        let former = setup.runtime.spawn_blocking(move || recorded(&run_dir)).await.unwrap_or_default();
        let mut files = Self { setup, running: Vec::new(), settled };
        files.change(sinks, former).await;
        files
    }

    /// Keeps these files from now on, and removes the others.
    pub async fn replace(&mut self, sinks: Vec<Sink>) {
        // What is there is of the configuration before.
        self.settled = BootTime::ZERO;
        self.change(sinks, Vec::new()).await;
    }

    async fn change(&mut self, sinks: Vec<Sink>, former: Vec<PathBuf>) {
        if sinks.is_empty() && self.running.is_empty() && former.is_empty() {
            return;
        }
        let is_wanted = |path: &Path| sinks.iter().any(|sink| sink.file.path == path);
        let mut former: Vec<PathBuf> = former.into_iter().filter(|path| !is_wanted(path)).collect();
        let (same, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|running| sinks.contains(&running.work.sink));
        let others: Vec<Arc<Work>> = others.into_iter().map(Running::end).collect();
        let gone: Vec<&Arc<Work>> = others.iter().filter(|work| !is_wanted(&work.sink.file.path)).collect();
        former.extend(gone.iter().map(|work| work.sink.file.path.clone()));
        let wanted = || sinks.iter().map(|sink| sink.file.path.clone());
        self.record(wanted().chain(former.iter().cloned()).collect()).await;
        let mut removals: Vec<Removal> =
            gone.into_iter().map(|work| removal(&self.setup, Arc::clone(work), NOT_CONFIGURED)).collect();
        let left = former.iter().filter(|path| removals.iter().all(|(removed, _)| removed != *path));
        let left: Vec<Removal> = left.map(|path| self.removal_of_former(path.clone())).collect();
        removals.extend(left);
        let all_gone = removed(removals).await;
        let mut same = same;
        for sink in &sinks {
            let kept = same.iter().position(|running| running.work.sink == *sink).map(|at| same.swap_remove(at));
            let before = others.iter().find(|work| work.sink.file.path == sink.file.path);
            let running = kept.unwrap_or_else(|| self.start(sink.clone(), before));
            self.running.push(running);
        }
        if all_gone {
            self.record(wanted().collect()).await;
        }
        self.setup.reports.replace(self.running.iter().map(|running| Arc::clone(&running.work.report)).collect());
    }

    fn start(&self, sink: Sink, before: Option<&Arc<Work>>) -> Running {
        let Setup { store, clock, trust, runtime, witness, .. } = &self.setup;
        let alone = before.map_or_else(|| Arc::new(Mutex::new(())), |work| Arc::clone(&work.alone));
        let command = sink.on_change.clone();
        let report = begin(&sink.file);
        let work = Work::new(sink, trust.clone(), report, Arc::clone(witness), alone);
        let following = follow(Arc::clone(&work), Arc::clone(store), Arc::clone(clock), self.settled);
        let mut tasks = vec![runtime.spawn(following).abort_handle()];
        tasks.extend(command.map(|command| runtime.spawn(Arc::clone(&work).run_commands(command)).abort_handle()));
        Running { work, tasks }
    }

    fn removal_of_former(&self, path: PathBuf) -> Removal {
        let (removed, witness) = (path.clone(), Arc::clone(&self.setup.witness));
        (removed, self.setup.runtime.spawn_blocking(move || remove(&path, NOT_CONFIGURED, &witness)))
    }

    /// Removes all files but those below `stays`, which others take over or remove. All stay below `/`.
    pub async fn end(self, stays: Option<&Path>) {
        let (kept, removed_now): (Vec<_>, Vec<_>) = self
            .running
            .into_iter()
            .map(Running::end)
            .partition(|work| stays.is_some_and(|stays| work.sink.file.path.starts_with(stays)));
        let removals: Vec<Removal> = removed_now.into_iter().map(|work| removal(&self.setup, work, STOPPED)).collect();
        if !removals.is_empty() && removed(removals).await {
            let kept = kept.iter().map(|work| work.sink.file.path.clone()).collect();
            write_record(&self.setup, kept).await;
        }
    }

    async fn record(&self, files: Vec<PathBuf>) {
        write_record(&self.setup, files).await;
    }
}

fn removal(setup: &Setup, work: Arc<Work>, why: &'static str) -> Removal {
    (work.sink.file.path.clone(), setup.runtime.spawn_blocking(move || work.remove(why)))
}

async fn write_record(setup: &Setup, files: Vec<PathBuf>) {
    let run_dir = setup.run_dir.clone();
    let write = move || record(&run_dir, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let written = timeout(PATIENCE, setup.runtime.spawn_blocking(write)).await;
    if let Ok(Ok(Err(error))) = written {
        let run_dir = setup.run_dir.display();
        tracing::error!("which files have credentials cannot be recorded in {run_dir}: {error}");
    }
}

/// Waits until they are removed; whether they are.
async fn removed(removals: Vec<Removal>) -> bool {
    let mut all = true;
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    for (path, removal) in removals {
        let path = path.display();
        tokio::select! {
            ended = removal => match ended {
                Ok(Ok(true)) => notice!("file {path}: removed"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    all = false;
                    tracing::error!("file {path}: it cannot be removed, and may have valid credentials: {error}");
                }
                Err(error) => {
                    all = false;
                    tracing::error!("file {path}: {error}");
                }
            },
            () = &mut patience => {
                all = false;
                tracing::error!("file {path}: it is not removed within {PATIENCE:?}, and may have valid credentials");
            }
        }
    }
    all
}
