//! `alppaca generate`: shell completions and the manual pages, made from the command line and the settings themselves.

use std::io::Write;

use alppaca_command::generate::{What, generate};

use crate::config::schema;

use super::{Failure, Outcome, complete, manual};

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  alppaca generate man > alppaca.1
  alppaca generate man --of alppacad > alppacad.8
  alppaca generate man --of alppaca.yaml > alppaca.yaml.5
  alppaca generate schema > alppaca.schema.json
  alppaca generate bash > /etc/bash_completion.d/alppaca")]
pub(super) struct Args {
    /// What to print
    #[arg(value_enum)]
    what: What,
    /// The program, or the configuration (which has a manual page and a schema)
    #[arg(long = "of", value_enum, value_name = "NAME", default_value_t = Program::Alppaca)]
    pub(super) program: Program,
}

/// What it is generated for: a name of the binary that a person types, or the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Program {
    Alppaca,
    Alppacad,
    #[value(name = "alppaca.yaml")]
    Configuration,
}

/// Prints it.
pub(super) fn run(args: &Args, command: clap::Command) -> Outcome {
    if let (Program::Alppaca, Some(script)) = (args.program, complete::script(args.what)) {
        return print(&script.map_err(Failure::runtime)?);
    }
    let section = if args.program == Program::Alppaca { "1" } else { "8" };
    print(&generate(args.what, command, (section, FILES.trim_start()), schema).map_err(Failure::runtime)?)
}

/// Prints the manual page of the configuration, or its schema.
pub(super) fn configuration(args: &Args, command: clap::Command) -> Outcome {
    match args.what {
        What::Man => print(manual::configuration().as_bytes()),
        What::Schema => run(args, command),
        _ => Err(Failure::usage(
            "alppaca.yaml has a manual page and a schema only: alppaca generate man --of alppaca.yaml",
        )),
    }
}

fn print(text: &[u8]) -> Outcome {
    anstream::stdout().write_all(text).map_err(|error| Failure::runtime(format!("cannot write: {error}")))
}

/// What the command line does not say of itself.
const FILES: &str = r"
.SH FILES
.TP
\fI/etc/alppaca/*.yaml\fR
The configuration, merged in alphabetical order. Every setting is in
\fBalppaca.yaml\fR(5).
.TP
\fI/run/alppaca/alppaca.sock\fR
The admin socket. The daemon of a plain user has it in \fI$XDG_RUNTIME_DIR/alppaca\fR or
\fI~/.local/state/alppaca\fR.
";
