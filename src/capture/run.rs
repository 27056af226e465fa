//! Carries out a plan.

use std::{
    io::{self, Write},
    net::SocketAddrV4,
    path::PathBuf,
    process::{self, Stdio},
};

use super::{
    bridges::{Bridges, CHAINS, Rule, TABLE},
    foreign::foreign_redirections,
    plan::{Command, LOOPBACK, Mode, NAME, OWN_CHAINS, Settings, Tool},
};

/// Where programs are looked for besides PATH: users often have no sbin in it.
const SBIN: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];

/// The unit that captures the address at each boot, and again when the link is deleted.
const UNIT: &str = "alppaca-capture.service";

/// Why an address is not captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A program is missing.
    #[error("there is no `{0}` on this host; install it, or choose another way with --mode or --tool")]
    Missing(&'static str),
    /// A command failed.
    #[error("`{command}` failed: {reason}{}", if *root { "" } else { " (it needs root)" })]
    Failed {
        /// The command.
        command: String,
        /// What it said.
        reason: String,
        /// Whether we are root.
        root: bool,
    },
}

/// What there is on this host: where programs are found.
#[derive(Debug, Clone)]
pub struct Host {
    /// The directories of PATH.
    pub path: Vec<PathBuf>,
}

impl Host {
    fn find(&self, program: &str) -> Option<PathBuf> {
        let directories = self.path.iter().cloned().chain(SBIN.map(PathBuf::from));
        directories.map(|directory| directory.join(program)).find(|file| file.is_file())
    }

    /// The tool for redirections that is here; nft, if both are.
    pub fn tool(&self) -> Tool {
        if self.find("nft").is_none() && self.find("iptables").is_some() { Tool::Iptables } else { Tool::Nft }
    }

    /// What a command prints, or why it failed.
    pub(super) fn output(&self, command: &Command) -> Result<String, CaptureError> {
        let failed = |reason: String| CaptureError::Failed {
            command: command.to_string(),
            reason,
            root: rustix::process::geteuid().is_root(),
        };
        let program = self.find(command.program).ok_or(CaptureError::Missing(command.program))?;
        let run = || -> io::Result<process::Output> {
            let mut child = process::Command::new(&program)
                .args(&command.arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let (Some(mut stdin), Some(input)) = (child.stdin.take(), &command.input) {
                stdin.write_all(input.as_bytes())?;
            }
            child.wait_with_output()
        };
        let output = run().map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

pub(super) fn ask(program: &'static str, arguments: &[&str]) -> Command {
    Command { program, arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(), input: None }
}

/// Captures the address. Doing it twice is the same as once. Answers what else is to be said.
pub fn apply(host: &Host, settings: &Settings) -> Result<Vec<String>, CaptureError> {
    let mut notes = Vec::new();
    let mut settings = settings.clone();
    for foreign in foreign_redirections(host, settings.address) {
        notes.push(format!("there is also a rule that alppaca did not make: {}", foreign.rule));
    }
    if settings.mode == Mode::Address && settings.link != LOOPBACK {
        match host.output(&ask("ip", &["link", "add", &settings.link, "type", "dummy"])) {
            Ok(_) => {}
            Err(CaptureError::Failed { reason, .. }) if reason.contains("File exists") => {}
            Err(CaptureError::Failed { reason, .. }) if reason.contains("Unknown device type") => {
                notes.push("this kernel has no dummy links; the address goes on lo".to_owned());
                LOOPBACK.clone_into(&mut settings.link);
            }
            Err(error) => return Err(error),
        }
    }
    if (settings.mode, settings.tool) == (Mode::Dnat, Tool::Iptables) {
        apply_rules(host, &settings)?;
        return Ok(notes);
    }
    let made_already = |command: &&Command| !command.arguments.starts_with(&["link".into(), "add".into()]);
    for command in settings.apply().iter().filter(made_already) {
        host.output(command)?;
    }
    Ok(notes)
}

/// Makes the rules of iptables that are not there yet, then deletes those of ours that are not wanted any more, such as the
/// one to another port.
fn apply_rules(host: &Host, settings: &Settings) -> Result<(), CaptureError> {
    let (there, wanted) = (own_rules(host)?, settings.rules());
    for rule in wanted.iter().filter(|rule| !there.contains(rule)) {
        host.output(&rule.insert())?;
    }
    for rule in there.iter().filter(|rule| !wanted.contains(rule)) {
        host.output(&rule.delete())?;
    }
    Ok(())
}

/// The rules of ours that iptables has for the processes of this host.
fn own_rules(host: &Host) -> Result<Vec<Rule>, CaptureError> {
    let rules = rules_in(host, &OWN_CHAINS)?;
    Ok(rules.into_iter().filter(|rule| !rule.is_for_bridge()).collect())
}

/// All rules of ours in some chains of iptables.
fn rules_in(host: &Host, chains: &[(&'static str, &'static str)]) -> Result<Vec<Rule>, CaptureError> {
    let mut rules = Vec::new();
    for (table, chain) in chains {
        let listed = host.output(&ask("iptables", &["-w", "-t", table, "-S", chain]))?;
        rules.extend(listed.lines().filter_map(|line| Rule::ours(table, chain, line)));
    }
    Ok(rules)
}

/// Undoes what [`apply`] did, in every way that it may have been done with this mode, and nothing
/// else. Answers what else is to be said.
pub fn remove(host: &Host, settings: &Settings) -> Result<Vec<String>, CaptureError> {
    let mut notes = Vec::new();
    for settings in applied(host, settings) {
        let commands = match (settings.mode, settings.tool) {
            (Mode::Dnat, Tool::Iptables) => own_rules(host)?.iter().rev().map(Rule::delete).collect(),
            _ => settings.remove(),
        };
        for command in commands {
            host.output(&command)?;
        }
        notes.push(format!("removed: {}", describe(&settings)));
    }
    if notes.is_empty() {
        notes.push("there was nothing to remove".to_owned());
    }
    for foreign in foreign_redirections(host, settings.address) {
        notes.push(format!("left alone, because alppaca did not make it: {}", foreign.rule));
    }
    Ok(notes)
}

/// Whether the unit is active that makes the capture again.
pub fn unit_is_active(host: &Host) -> bool {
    host.output(&ask("systemctl", &["is-active", "--quiet", UNIT])).is_ok()
}

/// Lets containers reach the captured address. Doing it twice is the same as once, and rules that are not wanted any more
/// go. Answers what else is to be said.
pub fn apply_bridges(host: &Host, bridges: &Bridges, tool: Tool) -> Result<Vec<String>, CaptureError> {
    match tool {
        Tool::Nft => {
            host.output(&bridges.table())?;
            let advice = "a firewall of your own that drops packets from the bridges must accept port 80 of the \
                 captured \
                          address through";
            Ok(vec![advice.to_owned()])
        }
        Tool::Iptables => {
            let (there, wanted) = (bridge_rules(host)?, bridges.rules());
            // Each rule is inserted before the previous one, so the first must come last.
            for rule in wanted.iter().rev().filter(|rule| !there.contains(rule)) {
                host.output(&rule.insert())?;
            }
            for rule in there.iter().filter(|rule| !wanted.contains(rule)) {
                host.output(&rule.delete())?;
            }
            Ok(Vec::new())
        }
    }
}

/// Undoes [`apply_bridges`], with whichever tool it was done, and nothing else. Answers what was removed.
pub fn remove_bridges(host: &Host) -> Result<Vec<String>, CaptureError> {
    let mut notes = Vec::new();
    if has_bridge_table(host) {
        let input = format!("table ip {TABLE}\ndelete table ip {TABLE}\n");
        host.output(&Command::with_input("nft", "-f -", input))?;
        notes.push(format!("removed: nftables table ip {TABLE}"));
    }
    let rules = if host.find("iptables").is_some() { bridge_rules(host)? } else { Vec::new() };
    for rule in &rules {
        host.output(&rule.delete())?;
    }
    if !rules.is_empty() {
        notes.push(format!("removed: {} iptables rule(s) for bridges", rules.len()));
    }
    Ok(notes)
}

/// What is in force for containers.
pub fn bridges_applied(host: &Host) -> Vec<String> {
    let table = has_bridge_table(host).then(|| format!("nftables table ip {TABLE}"));
    // A user who may not read the rules gets the error when applying.
    let rules = bridge_rules(host).unwrap_or_default();
    table
        .into_iter()
        .chain(rules.iter().map(|rule| format!("iptables -t {} {} {}", rule.table, rule.chain, rule.text)))
        .collect()
}

fn has_bridge_table(host: &Host) -> bool {
    host.output(&ask("nft", &["list", "table", "ip", TABLE])).is_ok()
}

/// The rules of ours that iptables has for bridges.
fn bridge_rules(host: &Host) -> Result<Vec<Rule>, CaptureError> {
    Ok(rules_in(host, &CHAINS)?.into_iter().filter(Rule::is_for_bridge).collect())
}

fn describe(settings: &Settings) -> String {
    match (settings.mode, settings.tool) {
        (Mode::Address, _) => format!("{} on {}", settings.address, settings.link),
        (Mode::Dnat, Tool::Nft) => format!("nftables table ip {NAME}"),
        (Mode::Dnat, Tool::Iptables) => format!("iptables rule to {}", settings.to),
    }
}

/// Where a rule redirects to, which it says after `before`.
fn target(rule: &str, before: &str) -> Option<SocketAddrV4> {
    rule.split_once(before)?.1.split_whitespace().next()?.parse().ok()
}

/// The forms of `settings.mode` that are in force now. A tool that is missing has made nothing.
pub fn applied(host: &Host, settings: &Settings) -> Vec<Settings> {
    let with = |tool: Tool, link: &str| Settings { tool, link: link.to_owned(), ..settings.clone() };
    let mut found = Vec::new();
    match settings.mode {
        Mode::Address => {
            for link in [settings.link.as_str(), LOOPBACK] {
                let listed = host.output(&ask("ip", &["-o", "-4", "address", "show", "dev", link])).unwrap_or_default();
                let ours = format!(" {}/32 ", settings.address);
                if listed.contains(&ours) && !found.iter().any(|known: &Settings| known.link == link) {
                    found.push(with(settings.tool, link));
                }
            }
        }
        Mode::Dnat => {
            let redirects = |tool, to: Option<SocketAddrV4>| Settings {
                to: to.unwrap_or(settings.to),
                ..with(tool, &settings.link)
            };
            if let Ok(table) = host.output(&ask("nft", &["list", "table", "ip", NAME])) {
                found.push(redirects(Tool::Nft, target(&table, "dnat to ")));
            }
            // Reading the rules needs root; without it, none can be shown.
            let rules = own_rules(host).unwrap_or_default();
            if !rules.is_empty() {
                let to = rules.iter().find_map(|rule| target(&rule.text, "--to-destination "));
                found.push(redirects(Tool::Iptables, to));
            }
        }
    }
    found
}
