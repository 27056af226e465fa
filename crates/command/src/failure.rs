//! How a command ends when it cannot do what it was asked.

use std::{ffi::OsString, fmt, process::ExitCode};

use clap::{Parser, error::ErrorKind};

use crate::environment;

/// The result of a subcommand.
pub type Outcome = Result<(), Failure>;

/// What to tell the person, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Exit code: 1 = it failed, 2 = the command line or the configuration is wrong. The LSB codes
    /// of `alppacad` are its own.
    pub code: u8,
    /// What is wrong, where, and what to do. May have several lines. Empty if all was said before.
    pub message: String,
}

impl Failure {
    /// It failed at run time: exit code 1.
    pub fn runtime(message: impl fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// The person's mistake, on the command line or in the configuration: exit code 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// Says on stderr what is wrong with the program called `name`.
    pub(crate) fn tell(&self, name: &str) {
        if self.message.is_empty() {
            return;
        }
        let mark = if environment::for_logging().stderr_is_journal() { ERROR } else { "" };
        for line in format!("{name}: {}", self.message.trim_end()).lines() {
            crate::eprintln!("{mark}{line}");
        }
    }
}

/// Takes a command line apart. Prints help, version and errors itself; `Err` is the exit code.
pub fn parse<T: Parser>(arguments: &[OsString]) -> Result<T, ExitCode> {
    T::try_parse_from(arguments).map_err(|error| {
        // There is nothing else to do about output that cannot be written.
        let _unheard = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
            _ => ExitCode::from(2),
        }
    })
}

/// How a line is marked as an error for the journal (`sd-daemon(3)`).
const ERROR: &str = "<3>";

/// Ends the program called `name`: says what went wrong, in the journal as an error, so that who searches it for those finds why
/// a service does not start or reload.
pub fn end(name: &str, outcome: Outcome) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    failure.tell(name);
    ExitCode::from(failure.code)
}
