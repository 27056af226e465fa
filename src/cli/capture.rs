//! `alppaca capture`: make 169.254.169.254:80 reach the daemon, undo it, or say who answers there.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use super::{Failure, Outcome, environment};
use crate::capture::{Answerer, Host, Mode, Settings, Tool, applied, apply, remove, who_answers};

/// Arguments of `capture`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  alppaca capture print                show what apply would do
  sudo alppaca capture apply           the address on a link of its own; let the daemon
                                       listen there: `listen: [169.254.169.254:80]`
  sudo alppaca capture apply --mode dnat
                                       redirect to 127.0.0.1:25772, as in 2015
  alppaca capture check                who answers at 169.254.169.254:80?

check exits with 0 if alppaca answers, else with 1.")]
pub(super) struct Args {
    #[arg(value_enum)]
    action: Action,
    /// How programs' requests are made to reach the daemon
    #[arg(long, value_enum, default_value = "address")]
    mode: Mode,
    /// What a redirection is made with [default: nft, or iptables where there is no nft]
    #[arg(long, value_enum)]
    tool: Option<Tool>,
    /// The address that programs ask
    #[arg(long, default_value = "169.254.169.254")]
    address: Ipv4Addr,
    /// Where the daemon listens, for --mode dnat
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:25772")]
    to: SocketAddrV4,
    /// The link that gets the address, for --mode address; made if it is not lo
    #[arg(long, default_value = "alppaca0")]
    link: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Action {
    /// Print the commands that apply runs
    Print,
    /// Capture the address; once or twice is the same
    Apply,
    /// Undo it; nothing else is touched
    Remove,
    /// Say who answers there
    Check,
}

/// Does it.
pub(super) fn run(args: &Args) -> Outcome {
    let host = environment::host();
    let settings = Settings {
        mode: args.mode,
        tool: args.tool.unwrap_or_else(|| host.tool()),
        address: args.address,
        to: args.to,
        link: args.link.clone(),
    };
    match args.action {
        Action::Print => {
            for command in settings.apply() {
                anstream::println!("{command}");
            }
            Ok(())
        }
        Action::Apply => apply(&host, &settings).map(say).map_err(Failure::runtime),
        Action::Remove => remove(&host, &settings).map(say).map_err(Failure::runtime),
        Action::Check => check(&host, &settings),
    }
}

fn check(host: &Host, settings: &Settings) -> Outcome {
    let Settings { address, to, .. } = settings;
    for mode in [Mode::Address, Mode::Dnat] {
        for Settings { tool, link, .. } in applied(host, &Settings { mode, ..settings.clone() }) {
            match mode {
                Mode::Address => anstream::println!("captured: {address} is on the link {link}"),
                Mode::Dnat => anstream::println!("captured: {tool:?} redirects {address} to {to}"),
            }
        }
    }
    let answerer = who_answers((*address, 80).into(), Duration::from_secs(1));
    anstream::println!("{address}:80: {answerer}");
    match answerer {
        Answerer::Alppaca { .. } => Ok(()),
        _ => Err(Failure { code: 1, message: String::new() }),
    }
}

fn say(notes: Vec<String>) {
    for note in notes {
        anstream::println!("{note}");
    }
}
