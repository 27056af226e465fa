//! What a command prints for a person. What cannot be written to stdout is a failure of the command, except to a pipe whose reader
//! has seen enough, such as `head`.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

use crate::failure::Failure;

/// Prints to stdout. If that fails, the process ends as a command does that has failed.
#[macro_export]
macro_rules! print {
    ($($text:tt)+) => { $crate::output::print(::std::format_args!($($text)+)) };
}

/// The same with the end of a line.
#[macro_export]
macro_rules! println {
    ($($text:tt)+) => { $crate::output::print(::std::format_args!("{}\n", ::std::format_args!($($text)+))) };
}

/// Prints a line to stderr, if that is possible.
#[macro_export]
macro_rules! eprintln {
    ($($text:tt)+) => { $crate::output::eprint(::std::format_args!("{}\n", ::std::format_args!($($text)+))) };
}

/// What the macros for stdout do.
pub fn print(text: fmt::Arguments<'_>) {
    let mut stdout = anstream::stdout();
    let written = stdout.write_fmt(text).and_then(|()| stdout.flush());
    if let Err(failure) = outcome(written) {
        let name = std::env::args_os().next().unwrap_or_default();
        failure.tell(&Path::new(&name).file_name().unwrap_or_default().to_string_lossy());
        std::process::exit(failure.code.into());
    }
}

/// What the macro for stderr does.
pub fn eprint(text: fmt::Arguments<'_>) {
    // There is no other place to complain at.
    let _unheard = anstream::stderr().write_fmt(text);
}

fn outcome(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::runtime(format!("cannot write: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_has_seen_enough_is_no_failure() {
        assert_eq!(outcome(Ok(())), Ok(()));
        assert_eq!(outcome(Err(io::ErrorKind::BrokenPipe.into())), Ok(()));
        let full = outcome(Err(io::ErrorKind::StorageFull.into())).expect_err("nothing was written");
        assert!(full.code == 1 && full.message.starts_with("cannot write: "), "{full:?}");
    }
}
