//! The hidden command `launch`: becomes another program, in a session of its own. Sources of kind `process` are started so: only a
//! process itself can begin a session, and without one it would share the terminal that the daemon was started from.

use std::{
    convert::Infallible,
    ffi::OsString,
    io,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    process::Command,
};

use rustix::process::{Signal, set_parent_process_death_signal, setsid};

use crate::{
    failure::{Failure, Outcome},
    source::process::{CANNOT_BE_STARTED, NOT_STARTED},
};

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

/// Becomes the program. Why it cannot is for whoever started this, which knows the end of a launcher by its words.
pub fn run(args: &Args) -> Outcome {
    let Err(why) = become_program(&args.command);
    crate::eprintln!("{CANNOT_BE_STARTED}{why}");
    Err(Failure { code: NOT_STARTED, message: String::new() })
}

fn become_program(command: &[OsString]) -> Result<Infallible, String> {
    setsid().map_err(|error| format!("there is no session for it: {error}"))?;
    // Whatever ends the daemon ends the program, too.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("it cannot be bound to the life of its parent: {error}"))?;
    let (program, arguments) = command.split_first().ok_or("no program is named")?;
    let error = Command::new(program).args(arguments).exec();
    Err(format!("{error}{}", hint(&error, program.as_bytes().contains(&b'/'))))
}

/// What to do about it.
fn hint(error: &io::Error, has_path: bool) -> String {
    let uid = rustix::process::geteuid().as_raw();
    match (error.kind(), has_path) {
        (io::ErrorKind::NotFound, true) => {
            "; neither the file nor what its first line (`#!`) names may be missing".to_owned()
        }
        (io::ErrorKind::PermissionDenied, true) => {
            format!("; it and the directories on its path have to be executable for uid {uid}")
        }
        // One directory into which the account may not look is enough for the second.
        (io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied, false) => {
            format!("; no directory of PATH has it as a program for uid {uid}: name it with its path")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_program_from_starting_is_told_with_what_to_do() {
        for (kind, has_path, part) in [
            (io::ErrorKind::NotFound, true, "`#!`"),
            (io::ErrorKind::NotFound, false, "no directory of PATH has it"),
            (io::ErrorKind::PermissionDenied, false, "no directory of PATH has it"),
            (io::ErrorKind::PermissionDenied, true, "executable for uid "),
        ] {
            let said = hint(&kind.into(), has_path);
            assert!(said.starts_with("; ") && said.contains(part), "{said}");
        }
        assert_eq!(hint(&io::ErrorKind::OutOfMemory.into(), true), "");
    }
}
