//! `alppaca-ims migrate`: another server's settings as our configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alppaca_command::{Failure, Outcome};

use crate::{
    migrate::{from_afp, from_hologram},
    settings::{Node, load},
};

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  alppaca-ims migrate afp /etc/afp/api /etc/afp/accounts > ims.yaml
  alppaca-ims migrate hologram /etc/hologram/server.json > ims.yaml
  alppaca-ims check -c ims.yaml

Comments that begin with `# !` show what changes and what could not be kept.")]
pub(super) struct Args {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, clap::Subcommand)]
enum Tool {
    /// From the two directories of AWS Federation Proxy
    Afp {
        /// The settings (`CONFIG_PATH`): a YAML file, or a directory of them
        config: PathBuf,
        /// The accounts (`ACCOUNT_CONFIG_PATH`): the same
        accounts: PathBuf,
    },
    /// From the configuration of hologram-server
    Hologram {
        /// Its file
        #[arg(default_value = "/etc/hologram/server.json")]
        file: PathBuf,
    },
}

/// Prints the configuration.
pub(super) fn run(args: &Args) -> Outcome {
    let text = match &args.tool {
        Tool::Afp { config, accounts } => from_afp(read(config)?.as_ref(), read(accounts)?.as_ref()),
        Tool::Hologram { file } => from_hologram(&read_json(file)?),
    };
    alppaca_command::print!("{text}");
    Ok(())
}

fn read(path: &Path) -> Result<Option<Node>, Failure> {
    load::texts(path, "the path of AFP's settings").and_then(load::tree).map_err(Failure::usage)
}

fn read_json(path: &Path) -> Result<serde_json::Value, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
    let text = fs::read(path).map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map_err(|error| failed(&error))
}
