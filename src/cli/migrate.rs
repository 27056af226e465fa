//! `alppaca migrate`: another tool's settings as our configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Failure, Outcome, environment};
use crate::migrate;

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' metadataproxy > old.env
  alppaca migrate metadataproxy old.env > alppaca.yaml
  alppaca migrate hologram /etc/hologram/agent.json > alppaca.yaml
  alppaca migrate signing-helper serve --certificate host.pem --private-key host.key … > new.yaml
  alppaca migrate ec2-metadata-mock aemm-config.json > alppaca.yaml
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
    /// From the configuration of hologram-agent
    Hologram {
        /// Its file
        #[arg(default_value = "/etc/hologram/agent.json")]
        file: PathBuf,
    },
    /// From the command line of AWS's `aws_signing_helper` (IAM Roles Anywhere)
    SigningHelper {
        /// What followed the program's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// From the configuration of amazon-ec2-metadata-mock
    Ec2MetadataMock {
        /// Its file, such as `aemm-config.json`
        file: PathBuf,
    },
}

/// Prints the configuration.
pub(super) fn run(args: &Args) -> Outcome {
    let text = match &args.tool {
        Tool::Metadataproxy { file: None } => migrate::from_metadataproxy(&environment::variables().0),
        Tool::Metadataproxy { file: Some(file) } => {
            let variables = migrate::parse_env_file(&read(file)?).map_err(|error| failed(file, &error))?;
            migrate::from_metadataproxy(&variables)
        }
        Tool::Hologram { file } => {
            let json = serde_json::from_str(&read(file)?).map_err(|error| failed(file, &error))?;
            migrate::from_hologram(&json)
        }
        Tool::SigningHelper { words } => migrate::from_signing_helper(words),
        Tool::Ec2MetadataMock { file } => {
            let json = serde_json::from_str(&read(file)?).map_err(|error| failed(file, &error))?;
            migrate::from_metadata_mock(&json)
        }
    };
    anstream::print!("{text}");
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| failed(file, &error))
}

fn failed(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {error}", file.display()))
}
