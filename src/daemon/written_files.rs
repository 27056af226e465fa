//! The files that roles are written into, as parts of the daemon: from the configuration to the work, and what it needs.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify},
};

use super::{End, reload::Reloading};
use crate::{
    audit::{Auditor, FileChange, FileEvent, Written},
    clock::SharedClock,
    config::{Config, ConfiguredFile},
    files::{Command, Deed, FileReports, Files, Setup, Sink, Witness, is_in_memory},
    needs::{Need, Needs},
    source::{
        HostEnv,
        process::{Program, program_files},
    },
    store::Store,
    trust::{self, File as JudgedFile, Purpose},
};
use alppaca_settings::NamedFiles;

/// The variable with the path of the file, for the program that is run after a change.
const VARIABLE: &str = "ALPPACA_FILE";

/// What keeps the files, from the moment on at which this daemon serves.
#[derive(Clone)]
pub(super) struct WrittenFiles {
    reports: FileReports,
    /// The run directory, which no reload changes.
    run_dir: PathBuf,
    /// None in a demonstration.
    state: Option<Arc<Mutex<State>>>,
}

struct State {
    setup: Setup,
    host_env: HostEnv,
    /// Those of the configuration in force.
    sinks: Vec<Sink>,
    work: Work,
}

enum Work {
    /// Another daemon still has the files.
    NotYet,
    UnderWay(Files),
    Over,
}

impl WrittenFiles {
    /// What keeps the files of `config`, in a daemon that can read it again, and has `auditor` record it. Nothing is done yet.
    pub(super) fn new(
        config: &Config,
        reloading: Option<&Reloading>,
        store: &Arc<Store>,
        clock: &SharedClock,
        runtime: &Handle,
        auditor: &Arc<Auditor>,
    ) -> Self {
        let reports = FileReports::default();
        let state = |reloading: &Reloading| {
            let (host_env, run_dir) = (reloading.host_env.clone(), config.run_dir.clone());
            let sinks = sinks(config, &run_dir, &host_env);
            let setup = Setup {
                store: Arc::clone(store),
                clock: Arc::clone(clock),
                trust: reloading.trust.clone(),
                run_dir,
                settle: config.ready_wait,
                reports: reports.clone(),
                witness: witness(auditor, clock),
                runtime: runtime.clone(),
            };
            Arc::new(Mutex::new(State { setup, host_env, sinks, work: Work::NotYet }))
        };
        Self { state: reloading.map(state), run_dir: config.run_dir.clone(), reports }
    }

    /// How they are.
    pub(super) fn reports(&self) -> FileReports {
        self.reports.clone()
    }

    /// The run directory.
    pub(super) fn run_dir(&self) -> PathBuf {
        self.run_dir.clone()
    }

    /// Has them written as soon as what is returned is notified that this daemon serves.
    pub(super) fn begin_when(&self, runtime: &Handle) -> Arc<Notify> {
        let serves = Arc::<Notify>::default();
        if let Some(state) = self.state.clone() {
            let serves = Arc::clone(&serves);
            runtime.spawn(async move {
                serves.notified().await;
                let mut state = state.lock().await;
                if matches!(state.work, Work::NotYet) {
                    state.work = Work::UnderWay(Files::begin(state.setup.clone(), state.sinks.clone()).await);
                }
            });
        }
        serves
    }

    /// Another configuration is in force.
    pub(super) async fn replace(&self, config: &Config) {
        let Some(state) = &self.state else { return };
        let mut state = state.lock().await;
        state.sinks = sinks(config, &state.setup.run_dir, &state.host_env);
        let State { sinks, work, .. } = &mut *state;
        if let Work::UnderWay(files) = work {
            files.replace(sinks.clone()).await;
        }
    }

    /// The daemon ends, and removes the files. If it was replaced, they are another daemon's; those in its run directory are
    /// the service manager's, if that is one of the directories that it has made.
    pub(super) async fn end(&self, end: &End, runtime_directories: &[PathBuf]) {
        let Some(state) = &self.state else { return };
        let mut state = state.lock().await;
        let run_dir = &*self.run_dir;
        let stays = match end {
            End::Replaced => Some(Path::new("/")),
            _ if runtime_directories.iter().any(|directory| run_dir.starts_with(directory)) => Some(run_dir),
            _ => None,
        };
        if let Work::UnderWay(files) = std::mem::replace(&mut state.work, Work::Over) {
            files.end(stays).await;
        }
    }
}

/// Has each change recorded, as long as the audit lasts: the end of the audit waits for its records, so nothing here keeps it.
fn witness(auditor: &Arc<Auditor>, clock: &SharedClock) -> Witness {
    let (auditor, clock): (Weak<Auditor>, _) = (Arc::downgrade(auditor), Arc::clone(clock));
    Arc::new(move |deed| {
        let Some(auditor) = auditor.upgrade() else { return false };
        let time = clock.now().wall;
        let record =
            |path: &Path, what| auditor.file(FileEvent { time, path: path.display().to_string().into(), what });
        match deed {
            Deed::Removed { path, why } => record(path, FileChange::Removed { why }),
            Deed::Written { file, owner, sets } => sets.iter().all(|set| {
                let written = Written {
                    role: set.role.clone(),
                    access_key_id: set.access_key_id.into(),
                    expiration: set.expiration,
                    owner,
                    mode: file.access.mode,
                    users: file.access.users.clone(),
                    groups: file.access.groups.clone(),
                };
                record(&file.path, FileChange::Written(written))
            }),
        }
    })
}

fn sinks(config: &Config, run_dir: &Path, host_env: &HostEnv) -> Vec<Sink> {
    let sink = |file: &ConfiguredFile| Sink {
        file: file.file.clone().in_run_dir(run_dir),
        on_change: program(file, run_dir, host_env).map(command),
    };
    config.files.iter().map(sink).collect()
}

fn command(program: Program) -> Command {
    let (name, id) = (program.command.first().cloned().unwrap_or_default(), program.id());
    let run = move || -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
        let program = program.clone();
        Box::pin(async move {
            program.check().map_err(|error| error.to_string())?;
            program.run().await.map(drop)
        })
    };
    Command { name, id, run: Arc::new(run) }
}

/// What is run after a change of a file.
fn program(file: &ConfiguredFile, run_dir: &Path, host_env: &HostEnv) -> Option<Program> {
    let command = file.on_change.clone()?;
    let path = file.file.clone().in_run_dir(run_dir).path;
    let own = [(VARIABLE.to_owned(), path.to_string_lossy().into_owned())];
    Some(Program {
        command,
        launcher: host_env.launcher.clone(),
        timeout: file.on_change_timeout,
        environment: host_env.variables(host_env.home.as_deref(), &own),
        facts: Vec::new(),
    })
}

/// The programs that are run after changes.
pub fn programs(config: &Config, host_env: &HostEnv) -> Vec<Program> {
    config.files.iter().filter_map(|file| program(file, &config.run_dir, host_env)).collect()
}

/// Adds what the files need of the system: their directories, and what is run after a change. All that is below the run
/// directory is written anyway.
pub(super) fn needs(config: &Config, run_dir: &Path, host_env: &HostEnv, needs: &mut Needs) {
    for file in &config.files {
        let mut needs = needs.of("files");
        if file.file.path.is_absolute() {
            needs.add(Need::Write(file.file.directory().to_owned()), &file.file.path.display().to_string());
        }
        if let Some(program) = program(file, run_dir, host_env) {
            needs.add(Need::Program(program.id()), &program.command[0]);
        }
    }
}

/// Adds what others must not be able to change: their directories, and what is run after a change.
pub(super) fn judged(config: &Config, host_env: &HostEnv, judged: &mut Vec<JudgedFile>) {
    for ConfiguredFile { file, on_change, .. } in &config.files {
        let whose = format!("files: {}", file.path.display());
        if file.path.is_absolute() {
            judged.push((file.directory().to_owned(), format!("{whose}: its directory"), Purpose::Obeyed));
        }
        if let Some(command) = on_change {
            let mut named = NamedFiles::default();
            program_files(command, host_env, &mut named);
            judged.extend(named.of(&whose).map(trust::named));
        }
    }
}

/// Who shall read them and is not known on this host, where they may be looked up: not at a start, which waits for no name.
pub fn unknown_readers(config: &Config) -> Vec<String> {
    let of = |ConfiguredFile { file, .. }: &ConfiguredFile| {
        let path = file.clone().in_run_dir(&config.run_dir).path.display().to_string();
        file.access.unknown().into_iter().map(move |error| format!("files: {path}: {error}; it will not be written"))
    };
    config.files.iter().flat_map(of).collect()
}

/// What a person should know of where they are.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let warning = |file: &ConfiguredFile| {
        let file = file.file.clone().in_run_dir(&config.run_dir);
        let (path, directory): (_, PathBuf) = (file.path.display(), file.directory().to_owned());
        let is_own = directory.starts_with(&config.run_dir);
        if !is_own && !directory.is_dir() {
            let directory = directory.display();
            return Some(format!(
                "files: {path}: there is no directory {directory}; make it, so that the daemon's account can write in it"
            ));
        }
        (is_in_memory(&directory) == Some(false)).then(|| {
            format!(
                "files: {path}: it is on a disk, where secrets can be found after the file was removed; a directory in memory \
                 (tmpfs), such as one in /run, has nothing left"
            )
        })
    };
    let without_program = |file: &ConfiguredFile| {
        let program = file.on_change.as_ref()?.first().filter(|program| program.starts_with('/'))?;
        let path = file.file.path.display();
        (!Path::new(program).exists()).then(|| format!("files: {path}: there is no program {program} (`on_change`)"))
    };
    config.files.iter().flat_map(|file| warning(file).into_iter().chain(without_program(file))).collect()
}
