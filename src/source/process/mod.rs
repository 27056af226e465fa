//! An external program that prints credentials (`credential_process`): run without a shell, with an environment of its
//! own, bounded in time and output, and ended together with all that it started.

mod output;

use std::{process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};
use zeroize::Zeroizing;

pub use output::{OutputError, Printed, parse_output};

use super::{Fetch, SourceError, SourceFuture, long_term::assumed_end};
use crate::{
    clock::SharedClock,
    credentials::{Credentials, Secret},
    text::{may_hold_secret, printable},
};

/// The longest output, as the AWS SDK for Java has it.
const MAX_OUTPUT: usize = 64 * 1024;

/// So much of what it writes to stderr is kept, and so much of that is shown.
const STDERR_BYTES: usize = 4096;
const STDERR_SHOWN: usize = 200;

/// The program and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The program and its arguments, which no shell sees. Without a slash the program is found through `PATH`.
    pub command: Vec<String>,
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
        if settings.command.first().is_none_or(String::is_empty) {
            return Err(SetupError::Empty);
        }
        let variables = settings.environment.iter().flat_map(|(name, value)| [name, value]);
        if settings.command.iter().chain(variables).any(|text| text.contains('\0')) {
            return Err(SetupError::Nul);
        }
        Ok(Self { settings: Arc::new(settings), clock })
    }

    async fn get(&self) -> Result<Credentials, SourceError> {
        let program = &self.settings.command[0];
        let failed = |what: String| SourceError::transient(format!("the program {program}: {what}"));
        let timeout = self.settings.timeout;
        let run = tokio::time::timeout(timeout, self.run());
        let output =
            run.await.map_err(|_| failed(format!("not done within {timeout:?}, and ended")))?.map_err(&failed)?;
        let set = parse_output(&output).map_err(|error| failed(error.to_string()))?;
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

    /// What the program prints, if it ends well. If this future is dropped, so is the program.
    async fn run(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        let Settings { command, environment, .. } = &*self.settings;
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]).env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        program.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group =
            Group::start(program.process_group(0)).map_err(|error| format!("cannot be started: {error}"))?;
        let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
        let (output, complaint) = tokio::try_join!(whole(stdout), beginning(stderr))?;
        let status = group.wait().await.map_err(|error| format!("its end cannot be awaited: {error}"))?;
        if status.success() { Ok(output) } else { Err(format!("it ended with {status}{}", shown(&complaint))) }
    }
}

impl Fetch for Process {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(self.get())
    }
}

/// A program and all that it starts, in a process group of its own. What is left of it is killed on drop.
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    fn start(command: &mut Command) -> std::io::Result<Self> {
        let child = command.kill_on_drop(true).spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, leader })
    }

    /// Waits for the end of the program itself. What it left running in the background goes on.
    async fn wait(&mut self) -> std::io::Result<std::process::ExitStatus> {
        let status = self.child.wait().await?;
        // The number may soon be somebody else's.
        self.leader = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // It fails only if nobody is left.
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}

async fn whole(stream: Option<impl AsyncRead + Unpin>) -> Result<Zeroizing<Vec<u8>>, String> {
    // As large as it may become, since a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_OUTPUT + 1));
    if let Some(stream) = stream {
        let limit = u64::try_from(MAX_OUTPUT + 1).unwrap_or(u64::MAX);
        let read = stream.take(limit).read_to_end(&mut bytes).await;
        read.map_err(|error| format!("its output cannot be read: {error}"))?;
    }
    if bytes.len() > MAX_OUTPUT { Err("it prints more than 64 KiB, and was ended".to_owned()) } else { Ok(bytes) }
}

/// The beginning of a stream that is read to its end, so that the program is never held up.
async fn beginning(stream: Option<impl AsyncRead + Unpin>) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut kept = Zeroizing::new(Vec::with_capacity(STDERR_BYTES));
    let Some(mut stream) = stream else { return Ok(kept) };
    let mut piece = Zeroizing::new([0; 1024]);
    loop {
        match stream.read(&mut *piece).await {
            Ok(0) => return Ok(kept),
            Ok(length) => {
                let room = STDERR_BYTES - kept.len();
                kept.extend_from_slice(&piece[..length.min(room)]);
            }
            Err(error) => return Err(format!("its stderr cannot be read: {error}")),
        }
    }
}

fn shown(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    if may_hold_secret(&text) {
        return " (what it wrote to stderr is not shown, as it may hold a secret)".to_owned();
    }
    let text = printable(&text, STDERR_SHOWN);
    if text.is_empty() { ", without a word on stderr".to_owned() } else { format!(": {text}") }
}
