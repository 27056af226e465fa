//! `alppaca policy explain`: which rule applies to a caller, and why.

use std::{collections::BTreeMap, fs, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::{ArgGroup, Subcommand};
use nix::unistd::{Gid, Uid};

use super::{Failure, Outcome, place::ConfigPath};
use crate::{
    admin::{Client, Status},
    caller::{
        Account, Accounts, Known, NameService,
        cgroup::{self, Cgroup},
        containers::{Api, ApiError, Container, ContainerFacts},
    },
    config, daemon,
    policy::{Facts, Look, Rules, Truth, containers},
};

/// The runtime that is asked for a container where the configuration names none.
const RUNTIME: &str = "/run/docker.sock";
/// How long the daemon is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Arguments of `policy`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show which rule of the policy applies to a caller, and why
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
#[command(
    group = ArgGroup::new("who").required(true).multiple(true).args(["user", "pid", "container", "address"]),
    after_help = "\
Reads the configuration; the daemon need not run, but if it does and goes by another policy, that is
said. What is not said of the caller (of a user: in which unit it asks) cannot be told; rules for
which that matters are marked with `?`. A container that runs is looked up at the runtime, unless
something is said of it here.

Examples:
  alppaca policy explain --user deploy
  alppaca policy explain --pid 4711
  alppaca policy explain --container web-1
  alppaca policy explain --container web-1 --image registry.example.com/web:3 --label team=web
  alppaca policy explain --container web-1 --address 172.17.0.2
  alppaca policy explain --address 10.0.0.7"
)]
struct Explain {
    #[command(flatten)]
    config: ConfigPath,
    /// A user of this host, by name or number
    #[arg(long, value_name = "NAME", conflicts_with_all = ["pid", "container"])]
    user: Option<String>,
    /// A process of this host
    #[arg(long, value_name = "NUMBER", conflicts_with = "container")]
    pid: Option<u32>,
    /// A container, by its name or id; one that does not run is taken to have its own network
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// Its image
    #[arg(long, value_name = "IMAGE", requires = "container", default_value = "")]
    image: String,
    /// One of its labels
    #[arg(long = "label", value_name = "KEY=VALUE", requires = "container")]
    labels: Vec<String>,
    /// The address of the caller
    #[arg(long)]
    address: Option<IpAddr>,
}

/// Explains.
pub(super) fn run(args: &Args) -> Outcome {
    let Action::Explain(explain) = &args.action;
    let loaded = config::load(&explain.config.path()).map_err(Failure::usage)?;
    let caller = explain.caller(&loaded.config)?;
    alppaca_command::println!("caller: {}", caller.describe());
    let own = loaded.config.containers.as_ref().and_then(|section| caller.own_role(&section.rules));
    if let Some(own) = &own {
        alppaca_command::println!("its own role: {own}");
    }
    match &loaded.config.policy {
        None if own.is_some() => alppaca_command::println!("there is no policy: a container gets its own role"),
        None => alppaca_command::println!("there is no policy: every caller gets all roles"),
        Some(rules) => alppaca_command::print!("{}", report(rules, &caller)),
    }
    for warning in daemon::unknown_callers(&loaded) {
        alppaca_command::eprintln!("warning: {warning}");
    }
    if let Some(note) = compare(&loaded.config) {
        alppaca_command::eprintln!("note: {note}");
    }
    Ok(())
}

/// Whether the daemon goes by another policy; nothing if it does not run or is not to be asked.
fn compare(config: &config::Config) -> Option<String> {
    let socket = config.admin.socket.clone()?;
    let status: Status = Client::new(socket).get("/v1/status", PATIENCE).ok()?;
    let (ours, theirs) = (config.policy.as_ref().map(Rules::digest), status.policy);
    if status.version != env!("CARGO_PKG_VERSION") {
        return Some(format!("the running daemon is version {} and may decide differently", status.version));
    }
    (ours != theirs).then(|| format!("the running daemon (process {}) uses another policy", status.pid))
}

/// What is known of the caller that is asked about.
struct Caller {
    who: Who,
    address: Option<IpAddr>,
    cgroup: Known<Arc<Cgroup>>,
    container: Known<Arc<Container>>,
}

enum Who {
    /// A user of this host.
    User(u32, Option<Account>),
    /// Somebody who is none.
    Stranger,
    /// Some process of this host.
    Process,
}

impl Explain {
    fn caller(&self, config: &config::Config) -> Result<Caller, Failure> {
        let failed = |error: io::Error| Failure::runtime(format!("cannot look up the user: {error}"));
        let of_host = |uid: u32, cgroup: Known<Arc<Cgroup>>| {
            let account = NameService.account(uid).map_err(failed)?;
            let container = match &cgroup {
                Known::Yes(group) if group.containers.is_empty() && !group.is_root() => Known::No,
                _ => Known::Unknown,
            };
            Ok(Caller { who: Who::User(uid, account), address: self.address, cgroup, container })
        };
        if let Some(user) = &self.user {
            let uid = match user.parse() {
                Ok(uid) => uid,
                Err(_) => NameService
                    .uid(user)
                    .map_err(failed)?
                    .ok_or_else(|| Failure::usage(format!("there is no user {user:?} on this host")))?,
            };
            return of_host(uid, Known::Unknown);
        }
        if let Some(pid) = self.pid {
            let gone = |error| Failure::runtime(format!("cannot look at process {pid}: {error}"));
            let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(gone)?;
            let uid = file_system_uid(&status).ok_or_else(|| gone(io::ErrorKind::InvalidData.into()))?;
            let group = cgroup::of_process(pid).map_err(gone)?;
            return of_host(uid, Known::Yes(Arc::new(group)));
        }
        let said = !self.image.is_empty() || !self.labels.is_empty() || self.address.is_some();
        if let Some(name) = self.container.as_ref().filter(|_| !said) {
            match find_container(name, config)? {
                Some(facts) => return Ok(Caller::container(facts)),
                None => {
                    alppaca_command::eprintln!("note: no runtime knows a container {name:?}; only its name is used");
                }
            }
        }
        let container = match &self.container {
            Some(name) => Known::Yes(Arc::new(self.container(name)?)),
            // Some container may have the address.
            None => Known::Unknown,
        };
        Ok(Caller { who: Who::Stranger, address: self.address, cgroup: Known::No, container })
    }

    fn container(&self, name: &str) -> Result<Container, Failure> {
        let label = |label: &String| {
            let (key, value) = label.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        };
        let labels = self.labels.iter().map(label).collect::<Option<_>>();
        let labels = labels.ok_or_else(|| Failure::usage("a label is written as KEY=VALUE"))?;
        let id = "0".repeat(64).parse().map_err(Failure::runtime)?;
        Ok(Container::described(ContainerFacts {
            id,
            name: name.to_owned(),
            image: self.image.clone(),
            labels,
            environment: BTreeMap::new(),
            addresses: self.address.into_iter().collect(),
            guest: false,
            host_name: String::new(),
            host_network: false,
            started_at: None,
            pid: None,
        }))
    }
}

/// What the first runtime that knows a container of that name or id says of it; `None` if none does, or if there is no
/// runtime to ask.
fn find_container(name: &str, config: &config::Config) -> Result<Option<ContainerFacts>, Failure> {
    let section = config.containers.as_ref();
    let sockets = section.map_or_else(|| vec![PathBuf::from(RUNTIME)], |section| section.sockets.clone());
    let wanted = section.map(|section| section.rules.variables()).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)?;
    for socket in sockets {
        match runtime.block_on(Api::new(socket).find(name, &wanted)) {
            Ok(Some(found)) => return Ok(Some(found.facts)),
            Ok(None) => {}
            Err(error) if section.is_some() => alppaca_command::eprintln!("note: {error}"),
            // Nobody said that there is one.
            Err(ApiError::Connect { .. }) => {}
            Err(error) => return Err(Failure::runtime(error)),
        }
    }
    Ok(None)
}

/// The fourth number of `Uid:` in `/proc/<pid>/status` (proc(5)): sockets belong to it.
fn file_system_uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(3)?.parse().ok()
}

impl Caller {
    /// A container as it asks: from the first of its addresses.
    fn container(facts: ContainerFacts) -> Self {
        let address = facts.addresses.first().copied();
        let (who, cgroup) =
            if facts.host_network { (Who::Process, Known::Unknown) } else { (Who::Stranger, Known::No) };
        Self { who, address, cgroup, container: Known::Yes(Arc::new(Container::described(facts))) }
    }

    /// What the container asks for, and whether it may have it.
    fn own_role(&self, rules: &containers::Rules) -> Option<String> {
        let Known::Yes(container) = &self.container else { return None };
        Some(match rules.ask(container.facts()) {
            Ok(ask) => {
                let external = if ask.external_id.is_some() { ", with an external id" } else { "" };
                let session = ask.session_name.map(|name| format!(", session {name}")).unwrap_or_default();
                format!("{}{external}{session}", ask.role_arn)
            }
            Err(why) => format!("none: {why}"),
        })
    }

    fn describe(&self) -> String {
        let mut said = vec![match &self.who {
            Who::User(uid, Some(account)) => {
                let groups: Vec<String> = account.groups.iter().map(ToString::to_string).collect();
                format!("user {} ({uid}), groups {}", account.name, groups.join(" "))
            }
            Who::User(uid, None) => format!("user {uid}, without an account"),
            Who::Stranger => "not a user of this host".to_owned(),
            Who::Process => "some user of this host".to_owned(),
        }];
        if let Known::Yes(group) = &self.cgroup {
            said.push(format!("cgroup {}", group.path));
        }
        if let Known::Yes(container) = &self.container {
            said.push(format!("container {}", container.facts().name));
        }
        said.extend(self.address.map(|address| format!("address {address}")));
        said.join(", ")
    }

    /// Whether something holds for a user and the number of a name.
    fn holds<N: Copy>(
        &self,
        number: &io::Result<Option<N>>,
        holds: impl Fn(Uid, Option<&Account>, N) -> bool,
    ) -> Truth {
        let (uid, account) = match &self.who {
            Who::User(uid, account) => (Uid::from_raw(*uid), account),
            Who::Stranger => return Truth::No,
            Who::Process => return Truth::Unknown,
        };
        match number {
            Ok(Some(number)) => holds(uid, account.as_ref(), *number).into(),
            Ok(None) => Truth::No,
            Err(_) => Truth::Unknown,
        }
    }
}

impl Facts for Caller {
    fn address(&self) -> Known<IpAddr> {
        self.address.map_or(Known::Unknown, Known::Yes)
    }

    fn is_user(&self, user: &str) -> Truth {
        let number = user.parse().map_or_else(|_| NameService.uid(user), |uid| Ok(Some(uid)));
        self.holds(&number.map(|uid| uid.map(Uid::from_raw)), |own, _, uid| own == uid)
    }

    fn is_in_group(&self, group: &str) -> Truth {
        let number = group.parse().map_or_else(|_| NameService.gid(group), |gid| Ok(Some(gid)));
        self.holds(&number.map(|gid| gid.map(Gid::from_raw)), |_, account, gid| {
            account.is_some_and(|account| account.groups.contains(&gid.as_raw()))
        })
    }

    fn cgroup(&self) -> Known<Arc<Cgroup>> {
        self.cgroup.clone()
    }

    fn container(&self) -> Known<Arc<Container>> {
        self.container.clone()
    }
}

/// Each rule up to the one that surely decides.
fn report(rules: &Rules, caller: &impl Facts) -> String {
    let mut lines = Vec::new();
    let mut depends = false;
    for (index, rule) in rules.rules.iter().enumerate() {
        let title = rules.title(Some(index));
        let Look { truth, because } = rule.look(caller);
        let why = because.map(ToString::to_string).unwrap_or_default();
        match truth {
            Truth::No => {
                let excepted = if because.is_some_and(|condition| rule.unless.contains(condition)) {
                    "excepted by"
                } else {
                    "it is not"
                };
                lines.push(format!("  {title}: does not apply ({excepted}: {why})"));
            }
            Truth::Pending | Truth::Unknown => {
                depends = true;
                lines.push(format!("? {title}: gives {}, if this holds: {why}", rule.effect));
            }
            Truth::Yes => {
                let decides = if depends { "otherwise: " } else { "" };
                lines.push(format!("> {decides}{title}: applies and gives {}", rule.effect));
                return lines.join("\n") + "\n";
            }
        }
    }
    let decides = if depends { "otherwise: " } else { "" };
    lines.push(format!("> {decides}no rule applies; {} gives {}", rules.title(None), rules.default));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_that_sockets_get_is_read() {
        assert_eq!(file_system_uid("Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\n"), Some(4));
        assert_eq!(file_system_uid("Uid:\t1\n"), None);
    }

    #[test]
    fn each_rule_is_told_up_to_the_one_that_decides() {
        let text = "ims_host: x\npolicy:\n  rules:\n  - {match: {user: daemon}, role: a}\n  \
                    - {match: {user: root}, unless: {group: root}, role: b}\n  - {match: {unit: u.service}, role: c}\n  \
                    - {name: d, match: {user: root, address: 10.0.0.0/8}, role: d}\n  - {role: e}\n";
        let rules = config::parse(vec![("x".into(), text.into())]).expect("legal").config.policy.expect("given");
        let account = NameService.account(0).expect("readable");
        let caller = Caller {
            who: Who::User(0, account),
            address: "10.1.1.1".parse().ok(),
            cgroup: Known::Unknown,
            container: Known::Unknown,
        };
        assert_eq!(
            report(&rules, &caller),
            "  rule 1: does not apply (it is not: user daemon)\n\
             \x20 rule 2: does not apply (excepted by: group root)\n\
             ? rule 3: gives c, if this holds: unit u.service\n\
             > otherwise: rule 4 (d): applies and gives d\n"
        );
        let stranger = Caller { who: Who::Stranger, address: None, cgroup: Known::No, ..caller };
        assert!(report(&rules, &stranger).ends_with("> rule 5: applies and gives e\n"));
    }
}
