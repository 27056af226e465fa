//! A wall clock that can be set for the daemons alone: the clock of a machine is that of everybody on it. What can be set is read
//! from a file, which is open before the daemon confines itself.

use std::{
    env, fs,
    fs::File,
    os::unix::fs::{FileExt, PermissionsExt},
    path::PathBuf,
    process::{Command, ExitCode},
    sync::Arc,
};

use alppaca::clock::{BootTime, Clock, Moment, SharedClock, SystemClock};
use jiff::SignedDuration;
use tempfile::TempDir;

use crate::support::Daemon;

/// Names the file to the process that is a daemon.
const FILE: &str = "ALPPACA_SOAK_CLOCK";
/// The arguments of that process; none has a space.
const ARGUMENTS: &str = "ALPPACA_SOAK_ARGUMENTS";

/// The clock, as whoever sets it has it.
pub(crate) struct Settable {
    file: File,
    directory: TempDir,
}

impl Settable {
    /// Right at first.
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let file = File::create(directory.path().join("ahead")).expect("a file");
        let settable = Self { file, directory };
        settable.set(SignedDuration::ZERO);
        let test = env::current_exe().expect("a test");
        let script = format!(
            "#!/bin/sh\nexport {FILE}={} {ARGUMENTS}=\"$*\"\nexec {} --exact clock::is_a_daemon --test-threads=1 --nocapture\n",
            settable.directory.path().join("ahead").display(),
            test.display()
        );
        fs::write(settable.program(), script).expect("a file");
        fs::set_permissions(settable.program(), fs::Permissions::from_mode(0o755)).expect("ours");
        settable
    }

    /// In place of the program: a daemon by this clock.
    pub(crate) fn program(&self) -> PathBuf {
        self.directory.path().join("alppaca")
    }

    /// Starts such a daemon, and waits until it has credentials.
    pub(crate) fn daemon(&self, config: &str) -> Daemon {
        let daemon = Daemon::start_through(config, |_alppaca| Command::new(self.program()), || {});
        daemon.wait_for_log(" fetched ");
        daemon
    }

    /// From now on the clock is so far ahead of the machine's, or behind it.
    pub(crate) fn set(&self, ahead: SignedDuration) {
        self.file.write_all_at(&ahead.as_secs().to_ne_bytes(), 0).expect("written");
    }
}

/// The same, as the daemon has it.
struct Set(File);

impl Clock for Set {
    fn now(&self) -> Moment {
        let mut seconds = [0; 8];
        self.0.read_exact_at(&mut seconds, 0).expect("it was written");
        let Moment { wall, boot } = SystemClock.now();
        Moment { wall: wall + SignedDuration::from_secs(i64::from_ne_bytes(seconds)), boot }
    }

    fn boot(&self) -> BootTime {
        SystemClock.boot()
    }
}

/// No test, but the daemon: all of the program but its `main`.
#[test]
fn is_a_daemon() {
    let (Ok(file), Ok(arguments)) = (env::var(FILE), env::var(ARGUMENTS)) else { return };
    let clock: SharedClock = Arc::new(Set(File::open(file).expect("a file")));
    let arguments: Vec<_> = ["alppaca"].into_iter().chain(arguments.split(' ')).map(Into::into).collect();
    assert_eq!(alppaca::cli::main_by(&clock, &arguments), ExitCode::SUCCESS);
}
