//! What a person types and reads: one file per subcommand. The only place that prints, and that reads the environment.

mod approvals;
mod check;
mod confine;
mod demo;
mod explain;
mod files;
mod generate;
mod migrate;
mod run;
mod token;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::LazyLock};

use alppaca_command::{Outcome, end, helper, launch, parse, version};
use clap::{CommandFactory, Parser, Subcommand};
pub use confine::confinement;

/// The account that a server started as root switches to by default, if it exists.
const USUAL_ACCOUNT: &str = "alppaca-ims";
/// What `--version` says.
static VERSION: LazyLock<String> = LazyLock::new(|| version(None));
/// Where the configuration is.
const CONFIG: &str = "/etc/alppaca-ims";

/// The role server of alppaca: proves who a caller is, decides by rules which AWS roles it may have, and hands out
/// credentials of them. An instance metadata service (IMS) for a private cloud.
#[derive(Debug, Parser)]
#[command(
    name = "alppaca-ims",
    version = VERSION.as_str(),
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
First steps:
  alppaca-ims demo               everything in one process, nothing to configure
  alppaca-ims check -c FILE      the errors of a configuration
  alppaca-ims explain -c FILE --host web1.example.com
                                 which rule gives which role, and why
  alppaca-ims run -c FILE        the server

Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong."
)]
struct AlppacaIms {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server in the foreground
    Run(run::Args),
    /// Validate the configuration
    Check(check::Args),
    /// Explain which rule gives which role to an identity, and why
    Explain(explain::Args),
    /// Read the approvals that are kept, and verify them
    Approvals(approvals::Args),
    /// Try it: the server, a certificate authority and a mock STS in one process, or a whole desktop
    Demo(demo::Args),
    /// Make a secret that proves a name (identity method `token`)
    Token(token::Args),
    /// Translate another server's settings into a configuration
    Migrate(migrate::Args),
    /// Print a shell completion, a manual page, or a schema of the configuration
    Generate(generate::Args),
    /// Run a program in a session of its own, for those that the server runs
    #[command(hide = true)]
    Launch(launch::Args),
    /// Run the programs of the configuration for a server that is confined
    #[command(hide = true)]
    Helper,
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
struct Config {
    /// A YAML file, or a directory whose *.yaml are merged in alphabetical order
    #[arg(short = 'c', long = "config", value_name = "PATH", default_value = CONFIG)]
    path: PathBuf,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match parse::<AlppacaIms>(&arguments) {
        Ok(parsed) => end("alppaca-ims", parsed.command.run()),
        Err(code) => code,
    }
}

impl Command {
    fn run(&self) -> Outcome {
        match self {
            Self::Run(args) => run::run(args),
            Self::Check(args) => check::run(args),
            Self::Explain(args) => explain::run(args),
            Self::Approvals(args) => approvals::run(args),
            Self::Demo(args) => demo::run(args),
            Self::Token(args) => token::run(args),
            Self::Migrate(args) => migrate::run(args),
            Self::Generate(args) => generate::run(args, AlppacaIms::command()),
            Self::Launch(args) => launch::run(args),
            Self::Helper => helper::run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        AlppacaIms::command().debug_assert();
    }

    #[test]
    fn explain_names_both_ways_to_say_who_is_meant() {
        let said = |arguments: &[&str]| {
            let arguments = ["alppaca-ims", "explain"].iter().chain(arguments);
            AlppacaIms::try_parse_from(arguments).map(|_| ()).map_err(|error| error.to_string())
        };
        let usage = said(&[]).expect_err("who is missing");
        assert!(usage.contains("Usage: alppaca-ims explain <--host <NAME>|--as <NAME>>"), "{usage}");
        assert!(said(&["--host", "a", "--as", "b"]).is_err_and(|error| error.contains("cannot be used with")));
        assert_eq!([said(&["--host", "a"]), said(&["--as", "b"])], [Ok(()), Ok(())]);
    }

    /// Where it is wider than the help, clap breaks lines that are broken already.
    #[test]
    fn what_follows_the_options_is_not_wider_than_the_help() {
        let mut commands = vec![AlppacaIms::command()];
        while let Some(command) = commands.pop() {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 100).collect();
            assert_eq!(long, [""; 0], "{}", command.get_name());
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
