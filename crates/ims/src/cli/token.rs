//! `alppaca-ims token`: a secret for a host, and the line of it for the file of an identity method of kind `token`.

use std::io::Write;

use alppaca_command::{Failure, Outcome};
use jiff::Timestamp;

use crate::{
    clock::{Clock, SystemClock},
    identity::token::{IssueError, issue},
};

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The line is printed to standard output; it has a hash of the secret, and is for the file of the
identity method, which the server reads again once a minute, and at a reload. The secret is printed
to standard error and kept nowhere; it is for the host.

Examples:
  alppaca-ims token web1.example.com --until 2027-01-01T00:00:00Z >> /etc/alppaca-ims/tokens
  alppaca-ims token web1.example.com --until 2026-12-01T12:00:00Z --once")]
pub(super) struct Args {
    /// The name that the secret proves
    #[arg(value_name = "NAME")]
    name: String,
    /// When the secret ends, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// For one request only, which each server counts for itself
    #[arg(long, requires = "until")]
    once: bool,
}

/// Makes a secret and prints it.
pub(super) fn run(args: &Args) -> Outcome {
    let now = SystemClock.now().wall;
    if let Some(until) = args.until.filter(|until| *until <= now) {
        return Err(Failure::usage(format!("--until {until} is over: the secret would never be taken")));
    }
    let (secret, line) = issue(&args.name, args.until, args.once).map_err(|error| match error {
        IssueError::NoRandomness => Failure::runtime(error),
        IssueError::Name(_) | IssueError::Endless => Failure::usage(error),
    })?;
    // First, since a secret without a line would be of no use.
    let shown =
        writeln!(anstream::stdout(), "{line}").and_then(|()| writeln!(anstream::stderr(), "{}", secret.expose()));
    shown.map_err(|error| Failure::runtime(format!("cannot write: {error}")))
}
