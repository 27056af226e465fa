//! The hidden command `launch`: becomes another program, in a session of its own. Sources of kind `process` are started so: only a
//! process itself can begin a session, and without one it would share the terminal that the daemon was started from.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use rustix::process::{Signal, set_parent_process_death_signal, setsid};

use crate::failure::{Failure, Outcome};

/// Arguments of `launch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// This program as the launcher of others. The name in `/proc` stands for what runs, even if the file was replaced.
pub fn launcher() -> Vec<String> {
    ["/proc/self/exe", "launch", "--"].map(str::to_owned).to_vec()
}

/// Becomes the program.
pub fn run(args: &Args) -> Outcome {
    setsid().map_err(|error| Failure::runtime(format!("cannot begin a session: {error}")))?;
    // Whatever ends the daemon ends the program, too.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::runtime(format!("cannot be bound to the life of its parent: {error}")))?;
    let (program, arguments) = args.command.split_first().ok_or_else(|| Failure::usage("no program"))?;
    let error = Command::new(program).args(arguments).exec();
    Err(Failure { code: 127, message: format!("cannot be started: {error}") })
}
