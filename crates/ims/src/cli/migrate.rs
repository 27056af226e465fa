//! `alppaca-ims migrate`: AFP's settings as our configuration.

use std::path::{Path, PathBuf};

use alppaca_command::{Failure, Outcome};

use crate::{
    afp,
    settings::{Node, load},
};

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  alppaca-ims migrate afp /etc/afp/api /etc/afp/accounts > ims.yaml
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
}

/// Prints the configuration.
pub(super) fn run(args: &Args) -> Outcome {
    let Tool::Afp { config, accounts } = &args.tool;
    let (config, accounts) = (read(config)?, read(accounts)?);
    anstream::print!("{}", afp::translate(config.as_ref(), accounts.as_ref()));
    Ok(())
}

fn read(path: &Path) -> Result<Option<Node>, Failure> {
    load::texts(path, "the path of AFP's settings").and_then(load::tree).map_err(Failure::usage)
}
