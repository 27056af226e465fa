//! An external program that prints credentials (`credential_process`): run without a shell, with an environment of its
//! own, bounded in time and output, and ended together with all that it started.

mod child;
pub mod helper;
pub(super) mod options;
mod output;
mod program;
mod wire;

pub use options::{command, program_files};
pub(super) use options::{render_variables, variables};
pub use output::{OutputError, Printed, parse_output};
pub use program::{CANNOT_BE_STARTED, NOT_STARTED, Program, SetupError};

use std::{sync::Arc, time::Duration};

use super::{Fetch, SourceError, SourceFuture, long_term::assumed_end};
use crate::{
    clock::SharedClock,
    credentials::{Credentials, Secret},
};

/// The program, and what is thought of its sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The program and how it is run.
    pub program: Program,
    /// How long a set is taken to be good that comes without `Expiration`.
    pub assumed_lifetime: Duration,
}

/// A source that runs a program.
pub struct Process {
    settings: Arc<Settings>,
    clock: SharedClock,
}

impl Process {
    /// A source that runs the program of `settings` at each use.
    pub fn new(settings: Settings, clock: SharedClock) -> Result<Self, SetupError> {
        settings.program.check()?;
        Ok(Self { settings: Arc::new(settings), clock })
    }

    /// Runs the program: its set, or what went wrong, for after the name of the program.
    pub(super) async fn run(&self) -> Result<Credentials, String> {
        let ended = self.settings.program.run().await?;
        let set = parse_output(ended.output()).map_err(|error| format!("{error}{}", ended.said()))?;
        let end = || assumed_end(self.clock.now().wall, self.settings.assumed_lifetime);
        Ok(Credentials {
            access_key_id: set.access_key_id,
            secret_access_key: set.secret_access_key,
            session_token: set.session_token.unwrap_or_else(|| Secret::new("")),
            expiration: set.expiration.unwrap_or_else(end),
            life: None,
            last_updated: None,
            account_id: set.account_id,
            role_arn: None,
        })
    }
}

impl Fetch for Process {
    fn fetch<'a>(&'a self, _: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(async {
            let program = &self.settings.program.command[0];
            self.run().await.map_err(|what| SourceError::transient(format!("the program {program}: {what}")))
        })
    }
}
