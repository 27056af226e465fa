//! `alppaca capture`: make 169.254.169.254:80 reach the daemon, undo it, or say who answers there.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use super::{Failure, Outcome, environment};
use crate::{
    caller::Listening,
    capture::{
        ALL_BRIDGES, Answerer, Bridges, Host, Mode, REPAIR, RULE_ORDER, Settings, Tool, WEAK_REDIRECTION, Way, applied,
        apply, apply_bridges, bridges_applied, foreign_redirections, is_unroutable, remove, remove_bridges,
        unit_is_active, who_answers,
    },
    host,
};

/// Arguments of `capture`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  alppaca capture print                show what apply would do
  sudo alppaca capture apply           the address on a link of its own; let the daemon
                                       listen there: `listen: [169.254.169.254:80]`
  sudo alppaca capture apply --mode dnat
                                       redirect to 127.0.0.1:25774, closed to everything else
  sudo alppaca capture apply --all-bridges
                                       for the containers of Docker and Podman, too
  alppaca capture check                what answers at 169.254.169.254:80?

check exits with 0 if alppaca answers, else with 1.")]
pub(super) struct Args {
    #[arg(value_enum)]
    action: Action,
    /// How programs' requests are made to reach the daemon
    #[arg(long, value_enum, default_value = "address")]
    mode: Mode,
    /// The tool for redirections [default: nft, or iptables where there is no nft]
    #[arg(long, value_enum)]
    tool: Option<Tool>,
    /// The address that programs use
    #[arg(long, default_value = "169.254.169.254")]
    address: Ipv4Addr,
    /// An additional address on the same link, such as 169.254.170.2, for --mode address; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    also: Vec<Ipv4Addr>,
    /// Where the daemon listens. With --mode dnat the target of redirected connections, to which nothing else can connect
    /// [default: 127.0.0.1:25774, which is `capture_listen`]; with --mode address a port that is closed to containers
    /// [default: 127.0.0.1:25772]
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: Option<SocketAddrV4>,
    /// The link that gets the address, for --mode address; made if it is not lo
    #[arg(long, default_value = "alppaca0")]
    link: String,
    /// A bridge whose containers reach the daemon, too; may end with *, and may be repeated
    #[arg(long, value_name = "BRIDGE")]
    bridge: Vec<String>,
    /// The bridges of Docker and Podman, including those created later
    #[arg(long)]
    all_bridges: bool,
    /// Do not capture for processes of this host: on EC2 they, and the daemon, still reach the real IMDS
    #[arg(long)]
    only_bridges: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Action {
    /// Print the commands that apply runs
    Print,
    /// Capture the address (idempotent)
    Apply,
    /// Undo the capture and change nothing else
    Remove,
    /// Show what answers at the address
    Check,
}

/// Does it.
pub(super) fn run(args: &Args) -> Outcome {
    let host = environment::host();
    let settings = Settings {
        mode: args.mode,
        tool: args.tool.unwrap_or_else(|| host.tool()),
        address: args.address,
        to: args.target(),
        link: args.link.clone(),
        also: args.also.clone(),
    };
    if args.mode == Mode::Dnat && !args.also.is_empty() {
        return Err(Failure::usage("--also is of no use with --mode dnat"));
    }
    let bridges = args.bridges()?;
    if args.only_bridges && (bridges.is_none() || args.mode == Mode::Address) {
        let message = "--only-bridges needs --mode dnat, and --bridge or --all-bridges: an address of this host is captured \
                       for its own processes, too";
        return Err(Failure::usage(message));
    }
    let own = !args.only_bridges;
    match args.action {
        Action::Print => {
            for command in settings.apply().iter().filter(|_| own) {
                alppaca_command::println!("{command}");
            }
            for command in bridges.iter().flat_map(|bridges| bridges.commands(settings.tool)) {
                alppaca_command::println!("{command}");
            }
            Ok(())
        }
        Action::Apply => {
            if own {
                say(apply(&host, &settings).map_err(Failure::runtime)?);
            }
            if let Some(bridges) = &bridges {
                say(apply_bridges(&host, bridges, settings.tool).map_err(Failure::runtime)?);
            }
            in_force(&host, &settings);
            if let Some(warning) = takeable(&settings) {
                alppaca_command::eprintln!("warning: {warning}");
            }
            if own && settings.mode == Mode::Dnat && is_unroutable(settings.address) {
                alppaca_command::eprintln!(
                    "warning: no route leads to {}, and without one nothing is redirected: use --mode address, or add a \
                     default route",
                    settings.address
                );
            }
            Ok(())
        }
        Action::Remove => {
            say(remove_bridges(&host).map_err(Failure::runtime)?);
            say(remove(&host, &settings).map_err(Failure::runtime)?);
            other_mode(&host, &settings);
            if unit_is_active(&host) {
                alppaca_command::eprintln!(
                    "warning: the unit alppaca-capture is active and makes the capture again; to undo it for good: `sudo \
                     systemctl disable --now alppaca-capture`"
                );
            }
            Ok(())
        }
        Action::Check => check(&host, &settings),
    }
}

impl Args {
    fn target(&self) -> SocketAddrV4 {
        self.to.unwrap_or_else(|| self.mode.default_target())
    }

    /// The bridges that are to be captured; `None` if there are none.
    fn bridges(&self) -> Result<Option<Bridges>, Failure> {
        let mut names = self.bridge.clone();
        if self.all_bridges {
            names.extend(ALL_BRIDGES.map(str::to_owned));
        }
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Ok(None);
        }
        let addresses = std::iter::once(self.address).chain(self.also.iter().copied()).collect();
        Bridges::new(names, self.mode, addresses, self.target()).map(Some).map_err(Failure::usage)
    }
}

/// Says what is in force.
fn in_force(host: &Host, settings: &Settings) {
    let address = settings.address;
    for mode in [Mode::Address, Mode::Dnat] {
        for Settings { tool, link, to, .. } in applied(host, &Settings { mode, ..settings.clone() }) {
            match mode {
                Mode::Address => alppaca_command::println!("captured: {address} is on the link {link}"),
                Mode::Dnat => alppaca_command::println!("captured: {tool} redirects {address} to {to}"),
            }
        }
    }
    for rule in bridges_applied(host) {
        alppaca_command::println!("for containers: {rule}");
    }
}

/// Says what is still in force of the other mode, which `remove` leaves alone.
fn other_mode(host: &Host, settings: &Settings) {
    let address = settings.address;
    let mode = match settings.mode {
        Mode::Address => Mode::Dnat,
        Mode::Dnat => Mode::Address,
    };
    for Settings { tool, link, .. } in applied(host, &Settings { mode, ..settings.clone() }) {
        match mode {
            Mode::Dnat => {
                alppaca_command::println!(
                    "{tool} still redirects {address}: `sudo alppaca capture remove --mode dnat`"
                );
            }
            Mode::Address => {
                alppaca_command::println!("{address} is still on the link {link}: `sudo alppaca capture remove`");
            }
        }
    }
}

/// A sentence if a redirection leads to a port that only the daemon keeps from other users. A socket of root's
/// may be systemd's, which only root can see.
fn takeable(settings: &Settings) -> Option<String> {
    let to = settings.to;
    if settings.mode != Mode::Dnat || to.port() < host::unprivileged_ports() {
        return None;
    }
    let has = match Listening::at(to.into()) {
        Ok(Some(listening)) if listening.is_of_systemd() != Some(false) => return None,
        Ok(Some(listening)) => format!("{listening} listens there"),
        Ok(None) => "no socket listens there".to_owned(),
        Err(error) => format!("the listening process cannot be determined: {error}"),
    };
    Some(format!(
        "while the daemon is down, every user can listen on {to} and give programs other credentials ({has}); \
         `systemctl enable --now alppaca.socket` keeps the port"
    ))
}

fn check(host: &Host, settings: &Settings) -> Outcome {
    let Settings { address, .. } = settings;
    in_force(host, settings);
    // The configuration may name others; `check` and `doctor` know them.
    let ports = [settings.to, Mode::Address.default_target(), Mode::Dnat.default_target()].map(|to| to.port());
    let redirections = foreign_redirections(host, *address);
    for foreign in &redirections {
        let weakness =
            if foreign.is_weak(&ports) { format!("; under a policy, {WEAK_REDIRECTION}") } else { String::new() };
        alppaca_command::println!("redirected by a rule that alppaca did not make: {}{weakness}", foreign.rule);
    }
    let answerer = who_answers((*address, 80).into(), Duration::from_secs(1));
    alppaca_command::println!("{address}:80: {answerer}");
    if matches!(answerer, Answerer::Alppaca { .. }) {
        return Ok(());
    }
    let redirected =
        !redirections.is_empty() || !applied(host, &Settings { mode: Mode::Dnat, ..settings.clone() }).is_empty();
    match Way::to(host, *address) {
        Some(Way::Here(_)) => {}
        // The route is that to the redirection.
        _ if redirected => {}
        Some(way @ Way::Out { despite: Some(_), .. }) => alppaca_command::println!("{way}: {RULE_ORDER}"),
        Some(way) => alppaca_command::println!("{way}: {REPAIR}"),
        None => alppaca_command::println!("no route leads there: {REPAIR}"),
    }
    Err(Failure { code: 1, message: String::new() })
}

fn say(notes: Vec<String>) {
    for note in notes {
        alppaca_command::println!("{note}");
    }
}
