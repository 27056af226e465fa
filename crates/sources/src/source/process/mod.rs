//! An external program that prints credentials (`credential_process`): run without a shell, with an environment of its
//! own, bounded in time and output, and ended together with all that it started.

mod child;
pub(super) mod options;
mod output;

use std::{sync::Arc, time::Duration};

use tokio::process::Command;

use child::{Broken, Complaint, Running};
pub(super) use options::{render_variables, variables};
pub use output::{OutputError, Printed, parse_output};

use super::{Fetch, SourceError, SourceFuture, long_term::assumed_end};
use crate::{
    clock::SharedClock,
    credentials::{Credentials, Secret},
    text::{printable, redact},
};

/// The longest output, as the AWS SDK for Java has it.
const MAX_OUTPUT: usize = 64 * 1024;

/// How many of the last bytes that it writes to stderr are kept, and how many characters of them are shown.
const STDERR_BYTES: usize = 4096;
const STDERR_SHOWN: usize = 400;

/// The program and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The program and its arguments, which no shell sees. Without a slash the program is found through `PATH`.
    pub command: Vec<String>,
    /// What runs it in a session of its own: a program and arguments, which `command` follows. Without a session of its
    /// own a program that reads the terminal would be stopped, and wait until its time-out.
    pub launcher: Vec<String>,
    /// From its start to its end.
    pub timeout: Duration,
    /// Its whole environment: nothing is inherited, so it gets no socket and no secret of ours.
    pub environment: Vec<(String, String)>,
    /// How long a set is taken to be good that comes without `Expiration`.
    pub assumed_lifetime: Duration,
}

/// Why there can be no such source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// No program at all.
    #[error("the command is empty")]
    Empty,
    /// No program can be started so.
    #[error("the command or its environment has a NUL character")]
    Nul,
}

/// A source that runs a program.
pub struct Process {
    settings: Arc<Settings>,
    clock: SharedClock,
}

impl Process {
    /// A source that runs the program of `settings` at each use.
    pub fn new(settings: Settings, clock: SharedClock) -> Result<Self, SetupError> {
        if [&settings.command, &settings.launcher].iter().any(|words| words.first().is_none_or(String::is_empty)) {
            return Err(SetupError::Empty);
        }
        let variables = settings.environment.iter().flat_map(|(name, value)| [name, value]);
        if settings.command.iter().chain(variables).any(|text| text.contains('\0')) {
            return Err(SetupError::Nul);
        }
        Ok(Self { settings: Arc::new(settings), clock })
    }

    /// Runs the program: its set, or what went wrong, for after the name of the program.
    pub(super) async fn run(&self) -> Result<Credentials, String> {
        let mut running = self.start().map_err(|error| format!("cannot be started: {error}"))?;
        let timeout = self.settings.timeout;
        let run = tokio::time::timeout(timeout, running.finish()).await;
        let said = || shown(&running.complaint);
        match run {
            Err(_) => return Err(format!("not done within {timeout:?}, and killed{}", said())),
            Ok(Err(Broken::TooMuch)) => return Err(format!("it printed more than 64 KiB, and was killed{}", said())),
            Ok(Err(Broken::Io(error))) => return Err(format!("its output cannot be read: {error}")),
            Ok(Ok(status)) if !status.success() => return Err(format!("it ended with {status}{}", said())),
            Ok(Ok(_)) => {}
        }
        let set = parse_output(running.output.bytes()).map_err(|error| format!("{error}{}", said()))?;
        let end = || assumed_end(self.clock.now().wall, self.settings.assumed_lifetime);
        Ok(Credentials {
            access_key_id: set.access_key_id,
            secret_access_key: set.secret_access_key,
            session_token: set.session_token.unwrap_or_else(|| Secret::new("")),
            expiration: set.expiration.unwrap_or_else(end),
            last_updated: None,
            account_id: set.account_id,
            role_arn: None,
        })
    }

    fn start(&self) -> std::io::Result<Running> {
        let Settings { launcher, command, environment, .. } = &*self.settings;
        let mut program = Command::new(&launcher[0]);
        program.args(&launcher[1..]).args(command);
        program.env_clear().envs(environment.iter().map(|(name, value)| (name, value))).current_dir("/");
        Running::start(&mut program, MAX_OUTPUT, STDERR_BYTES)
    }
}

impl Fetch for Process {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(async {
            let program = &self.settings.command[0];
            self.run().await.map_err(|what| SourceError::transient(format!("the program {program}: {what}")))
        })
    }
}

/// The end of what it wrote to stderr, in one line and without what looks like a secret.
fn shown(complaint: &Complaint) -> String {
    let (text, mut cut) = complaint.text();
    let text = printable(&redact(&text), STDERR_BYTES);
    let surplus = text.chars().count().saturating_sub(STDERR_SHOWN);
    cut |= surplus > 0;
    let end: String = text.chars().skip(surplus).collect();
    match (end.is_empty(), cut) {
        (true, false) => ", without output on stderr".to_owned(),
        (true, true) => " (what it wrote to stderr is one long line, which is not shown)".to_owned(),
        (false, false) => format!(": {end}"),
        (false, true) => format!(": … {end}"),
    }
}
