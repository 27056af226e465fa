//! How a command ends when it cannot do what it was asked.

use std::fmt;

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
}
