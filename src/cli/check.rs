//! `alppaca check`: is the configuration valid, and what does it amount to?

use std::path::PathBuf;

use super::{Failure, Outcome, environment};
use crate::{config, daemon, sandbox};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 valid, 2 not. Secrets are shown as ***.")]
pub(super) struct Args {
    /// A YAML file, or a directory whose *.yaml are merged in alphabetical order
    #[arg(short, long, value_name = "PATH", default_value = "/etc/alppaca")]
    config: PathBuf,
}

/// Checks, and prints the effective configuration.
pub(super) fn run(args: &Args) -> Outcome {
    let loaded = config::load(&args.config).map_err(Failure::usage)?;
    for warning in &loaded.warnings {
        anstream::eprintln!("warning: {warning}");
    }
    // Not a fault of the configuration: it may be checked on another host than it is for.
    if let Err(error @ (sandbox::SandboxError::NoUser(_) | sandbox::SandboxError::NoGroup(_))) =
        sandbox::resolve(&loaded.config.account)
    {
        anstream::eprintln!("warning: {error}; the daemon will not start");
    }
    for warning in daemon::open_secrets(&loaded.config) {
        anstream::eprintln!("warning: {warning}");
    }
    let surroundings = environment::surroundings();
    if let Some(note) = daemon::proxies_in_force(&loaded.config, &surroundings.proxies) {
        anstream::println!("# {note}");
    }
    // Nor is this: it reads certificates, and looks at the environment.
    if let Err(error) = daemon::fetching(&loaded.config, surroundings) {
        anstream::eprintln!("warning: {error}; the daemon will not start");
    }
    anstream::print!("{}", loaded.config.render());
    Ok(())
}
