//! `alppaca-ims approvals`: the requests that are kept, read from their directory.

use std::time::Duration;

use alppaca_command::{Failure, Outcome};

use super::Config;
use crate::{
    approvals::Entry,
    clock::{Clock, SystemClock},
    credentials::format_timestamp,
    record_files::RecordFiles,
    site,
    text::printable,
};

/// Arguments of `approvals`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the requests for approval and the answers to them
    List(List),
}

/// Arguments of `approvals list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads the directory of `approvals`, and checks the signature of each record; no server has to run.
Needs the key, and so the server's account or root. A record that does not count is reported.

Exit codes: 0 all records count, 1 some do not, 2 the configuration is wrong.

Examples:
  alppaca-ims approvals list
  sudo -u alppaca-ims alppaca-ims approvals list -c ./ims.yaml")]
struct List {
    #[command(flatten)]
    config: Config,
}

/// Does what the command line says.
pub(super) fn run(args: &Args) -> Outcome {
    let Command::List(List { config }) = &args.command;
    let loaded = site::load(&config.path).map_err(Failure::usage)?;
    let Some(options) = &loaded.site.approvals else {
        return Err(Failure::usage("the configuration has no `approvals`"));
    };
    let files = RecordFiles::open(options).map_err(Failure::runtime)?;
    let now = SystemClock.now();
    let ledger = files.read(now, Duration::ZERO).map_err(Failure::runtime)?;
    let mut entries: Vec<&Entry> = ledger.entries.values().collect();
    entries.sort_by_key(|entry| entry.request.at);
    for entry in entries {
        let Entry { request, answer } = entry;
        let (who, reason) = (printable(&request.by.name, 100), printable(&request.reason, 256));
        let (id, state, end) = (request.id.as_str(), entry.state(now.wall).as_str(), format_timestamp(entry.end()));
        let answered = answer.as_ref().map(|answer| format!(", {} by {}", answer.word.as_str(), answer.by.name));
        let answered = printable(&answered.unwrap_or_default(), 200);
        let role = format!("{}/{}", request.account, request.role);
        alppaca_command::println!("{id}  {state:<8}  until {end}  {role}  for {who}{answered}: {reason}");
    }
    for fault in &ledger.faults {
        alppaca_command::eprintln!("{}: {}", printable(&fault.file, 100), fault.problem);
    }
    match ledger.faults.len() {
        0 => Ok(()),
        count => Err(Failure::runtime(format!("{count} file(s) do not count"))),
    }
}
