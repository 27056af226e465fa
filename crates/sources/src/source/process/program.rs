//! A program that is run: without a shell, with an environment of its own, bounded in time and output.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    process::ExitStatus,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::{
    child::{Broken, Complaint, Running},
    helper,
};
use crate::text::{printable, redact};

/// The longest output, as the AWS SDK for Java has it.
const MAX_OUTPUT: usize = 64 * 1024;

/// How many of the last bytes that it writes to stderr are kept, and how many characters of them are shown.
const STDERR_BYTES: usize = 4096;
const STDERR_SHOWN: usize = 400;

/// What a launcher that cannot become the program ends with, and what it then writes to stderr, with the reason.
pub const NOT_STARTED: u8 = 127;
/// The same.
pub const CANNOT_BE_STARTED: &str = "cannot be started: ";

/// The program and how it is run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// The program and its arguments, which no shell sees. Without a slash the program is found through `PATH`.
    pub command: Vec<String>,
    /// What runs it in a session of its own: a program and arguments, which `command` follows. Without a session of its
    /// own a program that reads the terminal would be stopped, and wait until its time-out.
    pub launcher: Vec<String>,
    /// From its start to its end.
    pub timeout: Duration,
    /// Its whole environment: nothing is inherited, so it gets no socket and no secret of ours.
    pub environment: Vec<(String, String)>,
    /// The names of further variables, whose values are known only when it is run.
    pub facts: Vec<String>,
}

/// More than the facts of a run have, all together.
const MAX_FACTS: usize = 16 * 1024;

/// Why there can be no such program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// No program at all.
    #[error("the command is empty")]
    Empty,
    /// No program can be started so.
    #[error("the command or its environment has a NUL character")]
    Nul,
}

/// A run that ended well.
pub struct Ended {
    output: Zeroizing<Vec<u8>>,
    said: String,
}

impl Ended {
    pub(super) fn new(output: &[u8], said: String) -> Self {
        Self { output: Zeroizing::new(output.to_vec()), said }
    }

    /// What the program wrote to stdout.
    pub(super) fn output(&self) -> &[u8] {
        &self.output
    }

    /// What it wrote to stderr, for the end of a message.
    pub(super) fn said(&self) -> &str {
        &self.said
    }
}

impl Program {
    /// Whether it can be started at all.
    pub fn check(&self) -> Result<(), SetupError> {
        if [&self.command, &self.launcher].iter().any(|words| words.first().is_none_or(String::is_empty)) {
            return Err(SetupError::Empty);
        }
        let variables = self.environment.iter().flat_map(|(name, value)| [name, value]);
        if self.command.iter().chain(variables).any(|text| text.contains('\0')) {
            return Err(SetupError::Nul);
        }
        Ok(())
    }

    /// What stands for all that it is started with.
    pub fn id(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Has it run to its end, by the helper if there is one. An error says what went wrong, for after the name of the program.
    pub async fn run(&self) -> Result<Ended, String> {
        self.run_about(&[]).await
    }

    /// The same with these facts.
    pub async fn run_about(&self, facts: &[(String, String)]) -> Result<Ended, String> {
        if helper::is_there() { helper::run(self, facts).await } else { self.run_here(facts).await }
    }

    /// The same as a child of this process.
    pub(super) async fn run_here(&self, facts: &[(String, String)]) -> Result<Ended, String> {
        if !self.takes(facts) {
            return Err(format!("{CANNOT_BE_STARTED}it may not be told that"));
        }
        let mut running = self.start(facts).map_err(|error| format!("{CANNOT_BE_STARTED}{error}"))?;
        let timeout = self.timeout;
        let run = tokio::time::timeout(timeout, running.finish()).await;
        let said = || shown(&running.complaint);
        match run {
            Err(_) => Err(format!("not done within {timeout:?}, and killed{}", said())),
            Ok(Err(Broken::TooMuch)) => Err(format!("it printed more than 64 KiB, and was killed{}", said())),
            Ok(Err(Broken::Io(error))) => Err(format!("its output cannot be read: {error}")),
            Ok(Ok(status)) if !status.success() => Err(ended_badly(status, &said())),
            Ok(Ok(_)) => Ok(Ended::new(running.output.bytes(), said())),
        }
    }

    /// Whether these are facts of its own, and can be variables.
    fn takes(&self, facts: &[(String, String)]) -> bool {
        let size: usize = facts.iter().map(|(name, value)| name.len() + value.len()).sum();
        size <= MAX_FACTS && facts.iter().all(|(name, value)| self.facts.contains(name) && !value.contains('\0'))
    }

    fn start(&self, facts: &[(String, String)]) -> std::io::Result<Running> {
        let Self { launcher, command, environment, .. } = self;
        let environment = environment.iter().chain(facts);
        let mut program = Command::new(&launcher[0]);
        program.args(&launcher[1..]).args(command);
        program.env_clear().envs(environment.map(|(name, value)| (name, value))).current_dir("/");
        Running::start(&mut program, MAX_OUTPUT, STDERR_BYTES)
    }
}

/// What is said of a program that failed, or of its launcher, which has said it.
fn ended_badly(status: ExitStatus, said: &str) -> String {
    let of_launcher = said.strip_prefix(": ").filter(|said| said.starts_with(CANNOT_BE_STARTED));
    match (status.code() == Some(NOT_STARTED.into()), of_launcher) {
        (true, Some(why)) => why.to_owned(),
        _ => format!("it ended with {status}{said}"),
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
