//! What a person types and reads: one file per subcommand. The only place that prints, and that
//! reads the environment.

mod alppacad;
mod capture;
mod check;
mod complete;
mod confine;
mod conformance;
mod console;
mod credentials;
mod debug;
mod demo;
mod doctor;
mod environment;
mod exec;
mod generate;
mod human;
mod login;
mod low_ports;
mod manual;
mod migrate;
mod mock_ims;
mod page_sockets;
mod pick;
mod place;
mod policy;
mod predecessor;
mod profiles;
mod progress;
mod prompt;
mod roles;
mod run;
#[cfg(test)]
mod schemas;
mod sdk;
mod socket;
mod sockets;
mod source;
mod status;
mod traces;
mod use_role;
mod version;
mod web_browser;
mod webhook;
mod whoami;
mod wire;

use std::{ffi::OsString, path::Path, process::ExitCode};

use alppaca_command::{Failure, Outcome, end, launch, parse};
use clap::{CommandFactory, Parser, Subcommand};

use crate::clock::{SharedClock, SystemClock};

/// The account that a daemon started as root switches to by default, if it exists.
const USUAL_ACCOUNT: &str = "alppaca";

/// Prefetches temporary AWS credentials and serves them on this host as the EC2 instance metadata
/// service (IMDS) would.
#[derive(Debug, Parser)]
#[command(
    name = "alppaca",
    version = version::version(),
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
First steps:
  alppaca demo             everything in one process, nothing to configure
  alppaca check -c FILE    the effective configuration, or its errors
  alppaca run -c FILE      the daemon

Exit codes: 0 done, 1 failed, 2 the command line or the configuration is wrong. Commands that talk
to the daemon also have: 3 no daemon answers, 4 no such role for you, 5 no valid credentials at the
moment, 6 several roles match.

The keys of the configuration are explained in alppaca.yaml(5)."
)]
struct Alppaca {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run(run::Args),
    /// Validate the configuration and print the effective one
    Check(check::Args),
    /// Show the state of the running daemon and its roles
    Status(status::Args),
    /// Sign in at your site, with the browser or a code
    Login(login::Args),
    /// Forget the sign-in, and withdraw the credentials that it gave
    Logout(whoami::LogoutArgs),
    /// Show who has signed in, where, and until when
    Whoami(whoami::Args),
    /// Print credentials from the running daemon, for `credential_process` or a shell
    Credentials(credentials::Args),
    /// Run a program whose SDK gets fresh credentials from the daemon
    Exec(exec::Args),
    /// List the roles that you may have
    Roles(roles::Args),
    /// Choose the role that your programs get by default
    Use(use_role::Args),
    /// Go back to your default role
    Me(use_role::MeArgs),
    /// Open the AWS console in the browser, or print its URL
    Console(console::Args),
    /// Write a profile for each role into the configuration of the AWS SDKs
    Profiles(profiles::Args),
    /// Print the role in use, for the prompt of a shell
    Prompt(prompt::Args),
    /// Find out why programs of this user get no credentials
    Doctor(doctor::Args),
    /// Collect what is needed to find a fault
    Debug(debug::Args),
    /// Compare any instance metadata service with EC2's, case by case
    Conformance(conformance::Args),
    /// Try a source or a role: fetch once and show the result
    Source(source::Args),
    /// Try it: a mock IMS and the daemon in one process, without configuration or privileges
    Demo(demo::Args),
    /// Run a mock IMS, for trying out and for tests
    MockIms(mock_ims::Args),
    /// Make 169.254.169.254:80 reach the daemon, or undo it
    Capture(capture::Args),
    /// Tell the pods of a Kubernetes cluster where their credentials are, as they are made
    Webhook(webhook::Args),
    /// Explain which rule of the policy applies to a caller
    Policy(policy::Args),
    /// Translate another tool's settings into a configuration
    Migrate(migrate::Args),
    /// Print a shell completion, the manual page, or a schema of the configuration
    Generate(generate::Args),
    /// Run a program in a session of its own, for sources of kind `process`
    #[command(hide = true)]
    Launch(launch::Args),
    /// Run the programs of sources for a daemon that is confined
    #[command(hide = true)]
    Helper,
}

/// The daemon in the background: start, stop, restart, status.
#[derive(Debug, Parser)]
#[command(name = "alppacad", version = version::version(), arg_required_else_help = true)]
struct Alppacad {
    #[command(flatten)]
    args: alppacad::Args,
}

/// A mock IMS, for trying out and for tests.
#[derive(Debug, Parser)]
#[command(name = "alppaca-server-mock", version = version::version())]
struct ServerMock {
    #[command(flatten)]
    args: mock_ims::Args,
}

/// Does what the command line says. The name under which the program was called counts: as
/// `alppacad` and `alppaca-server-mock` it is what the 2015 tool had under these names.
pub fn main() -> ExitCode {
    complete::answer(Alppaca::command);
    main_by(&SystemClock::shared(), &std::env::args_os().collect::<Vec<_>>())
}

/// Does what this command line says, a daemon by that clock: the tests set it.
pub fn main_by(clock: &SharedClock, arguments: &[OsString]) -> ExitCode {
    let name = arguments.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    let outcome = match name.to_str() {
        Some("alppacad") => parse(arguments).map(|alppacad: Alppacad| alppacad::run(&alppacad.args)),
        Some("alppaca-server-mock") => parse(arguments).map(|mock: ServerMock| mock_ims::run(&mock.args)),
        _ => parse(arguments).map(|alppaca: Alppaca| alppaca.command.run(clock)),
    };
    outcome.map_or_else(|code| code, |outcome| end(&name.to_string_lossy(), outcome))
}

impl Command {
    fn run(&self, clock: &SharedClock) -> Outcome {
        match self {
            Self::Run(args) => run::run(args, clock),
            Self::Check(args) => check::run(args),
            Self::Status(args) => status::run(args),
            Self::Login(args) => login::run(args),
            Self::Logout(args) => whoami::logout(args),
            Self::Whoami(args) => whoami::run(args),
            Self::Credentials(args) => credentials::run(args),
            Self::Exec(args) => exec::run(args),
            Self::Roles(args) => roles::run(args),
            Self::Use(args) => use_role::run(args),
            Self::Me(args) => use_role::me(args),
            Self::Console(args) => console::run(args),
            Self::Profiles(args) => profiles::run(args),
            Self::Prompt(args) => {
                prompt::run(args);
                Ok(())
            }
            Self::Doctor(args) => doctor::run(args),
            Self::Debug(args) => debug::run(args),
            Self::Conformance(args) => conformance::run(args),
            Self::Source(args) => source::run(args),
            Self::Demo(args) => demo::run(args),
            Self::MockIms(args) => mock_ims::run(args),
            Self::Launch(args) => launch::run(args),
            Self::Helper => alppaca_command::helper::run(),
            Self::Capture(args) => capture::run(args),
            Self::Webhook(args) => webhook::run(args),
            Self::Policy(args) => policy::run(args),
            Self::Migrate(args) => migrate::run(args),
            Self::Generate(args) => match args.program {
                generate::Program::Alppaca => generate::run(args, Alppaca::command()),
                generate::Program::Alppacad => generate::run(args, Alppacad::command()),
                generate::Program::Configuration => generate::configuration(args, Alppaca::command()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_are_consistent() {
        Alppaca::command().debug_assert();
        Alppacad::command().debug_assert();
        ServerMock::command().debug_assert();
    }

    /// Where it is wider than the help, clap breaks lines that are broken already.
    #[test]
    fn what_follows_the_options_is_not_wider_than_the_help() {
        let mut commands = vec![Alppaca::command(), Alppacad::command(), ServerMock::command()];
        while let Some(command) = commands.pop() {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let wide: Vec<_> = text.lines().filter(|line| line.chars().count() > 100).collect();
            assert!(wide.is_empty(), "{}: {wide:#?}", command.get_name());
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
