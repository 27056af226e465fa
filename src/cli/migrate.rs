//! `alppaca migrate`: another tool's settings as our configuration.

use std::{fs, path::PathBuf};

use super::{Failure, Outcome, environment};
use crate::migrate;

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' metadataproxy > old.env
  alppaca migrate metadataproxy old.env > alppaca.yaml
  alppaca check -c alppaca.yaml

Comments that begin with `# !` show what changes and what could not be kept.")]
pub(super) struct Args {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, clap::Subcommand)]
enum Tool {
    /// From the environment variables of lyft/metadataproxy
    Metadataproxy {
        /// A file of NAME=value lines; by default this command's own environment
        file: Option<PathBuf>,
    },
}

/// Prints the configuration.
pub(super) fn run(args: &Args) -> Outcome {
    let Tool::Metadataproxy { file } = &args.tool;
    let variables = match file {
        None => environment::all(),
        Some(file) => {
            let failed = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", file.display()));
            let text = fs::read_to_string(file).map_err(|error| failed(&error))?;
            migrate::parse_env_file(&text).map_err(|error| failed(&error))?
        }
    };
    anstream::print!("{}", migrate::from_metadataproxy(&variables));
    Ok(())
}
