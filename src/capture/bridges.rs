//! The rules that let containers on bridges reach us at the captured address, and nowhere else. Pure.
//!
//! A packet that a container sends to the address comes to this host by its bridge. With `--mode address` the address is
//! one of the host's, so the packet has arrived: nothing is rewritten, and the daemon sees the container's own address.
//! With `--mode dnat` it is redirected before routing, to an address that is not loopback: for loopback the kernel would
//! need `route_localnet`, which opens every listener on 127.0.0.1 to the containers. That is never done.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::plan::{Command, Mode, NAME, Tool};

/// The table of our own.
pub(super) const TABLE: &str = "alppaca_bridges";
/// The bridges of Docker's and Podman's networks, those that are made later included.
pub const ALL: [&str; 4] = ["docker0", "br-*", "podman*", "cni-podman*"];
/// The longest name of a link.
const MAX_NAME: usize = 15;

/// Why that cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// No such name can be.
    #[error("{0:?} is not the name of a bridge; it may end with * for all names with that beginning")]
    Name(String),
    /// Containers cannot be redirected there.
    #[error(
        "containers cannot be redirected to {0}: the kernel takes no packets for loopback from other links, and telling it \
         to (route_localnet) would open all listeners on 127.0.0.1 to them. Use --mode address, or let the daemon listen at \
         an address of the host, too, and name it by --to"
    )]
    Loopback(SocketAddrV4),
}

/// The bridges, and what their containers may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridges {
    names: Vec<String>,
    mode: Mode,
    addresses: Vec<Ipv4Addr>,
    to: SocketAddrV4,
}

/// One rule of iptables, as `iptables -S` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) table: &'static str,
    pub(super) chain: &'static str,
    pub(super) text: String,
}

/// The chains of iptables that have rules of ours.
pub(super) const CHAINS: [(&str, &str); 2] = [("nat", "PREROUTING"), ("filter", "INPUT")];

impl Bridges {
    /// Containers on bridges of these names, for which `addresses` are captured; `to` is the daemon's other listener.
    pub fn new(
        names: Vec<String>,
        mode: Mode,
        addresses: Vec<Ipv4Addr>,
        to: SocketAddrV4,
    ) -> Result<Self, BridgeError> {
        for name in &names {
            let stem = name.strip_suffix('*').unwrap_or(name);
            let legal = stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            if !legal || stem.is_empty() || stem.len() > MAX_NAME || stem.starts_with('-') {
                return Err(BridgeError::Name(name.clone()));
            }
        }
        if mode == Mode::Dnat && to.ip().is_loopback() {
            return Err(BridgeError::Loopback(to));
        }
        Ok(Self { names, mode, addresses, to })
    }

    /// The table, replaced in one transaction.
    pub(super) fn table(&self) -> Command {
        let (to, port) = (self.to, self.to.port());
        let addresses = self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut input = format!("table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n");
        if self.mode == Mode::Dnat {
            input.push_str("\tchain prerouting {\n\t\ttype nat hook prerouting priority -100; policy accept;\n");
            for name in &self.names {
                let rule = format!("iifname \"{name}\" ip daddr {{ {addresses} }} tcp dport 80 counter dnat to {to}");
                input.extend(["\t\t", &rule, "\n"]);
            }
            input.push_str("\t}\n");
        }
        input.push_str("\tchain input {\n\t\ttype filter hook input priority -10; policy accept;\n");
        for name in &self.names {
            // Redirected connections may pass; direct connections to the port may not.
            let direct = if self.mode == Mode::Dnat { "ct status & dnat == 0 " } else { "" };
            let rule = format!("iifname \"{name}\" tcp dport {port} {direct}counter drop");
            input.extend(["\t\t", &rule, "\n"]);
        }
        input.push_str("\t}\n}\n");
        Command::with_input("nft", "-f -", input)
    }

    /// The same with iptables.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let (to, port) = (self.to, self.to.port());
        let mut rules = Vec::new();
        let mut rule =
            |table, chain, text: String| rules.push(Rule { table, chain, text: text.replace("COMMENT", &comment()) });
        for name in &self.names {
            let link = name.replace('*', "+");
            match self.mode {
                Mode::Address => {
                    for address in &self.addresses {
                        let accept = format!("-d {address}/32 -i {link} -p tcp -m tcp --dport 80 COMMENT -j ACCEPT");
                        rule("filter", "INPUT", accept);
                    }
                    // The accepted port may be the same; then there is no other listener to protect.
                    if port != 80 {
                        rule("filter", "INPUT", format!("-i {link} -p tcp -m tcp --dport {port} COMMENT -j DROP"));
                    }
                }
                Mode::Dnat => {
                    for address in &self.addresses {
                        let redirect = format!(
                            "-d {address}/32 -i {link} -p tcp -m tcp --dport 80 COMMENT -j DNAT --to-destination {to}"
                        );
                        rule("nat", "PREROUTING", redirect);
                    }
                    let port = format!("-i {link} -p tcp -m tcp --dport {port}");
                    rule("filter", "INPUT", format!("{port} -m conntrack --ctstate DNAT COMMENT -j ACCEPT"));
                    rule("filter", "INPUT", format!("{port} -m conntrack ! --ctstate DNAT COMMENT -j DROP"));
                }
            }
        }
        rules
    }

    /// What makes the rules, for people; [`super::apply`] leaves out what is there already.
    pub fn commands(&self, tool: Tool) -> Vec<Command> {
        match tool {
            Tool::Nft => vec![self.table()],
            Tool::Iptables => self.rules().iter().rev().map(Rule::insert).collect(),
        }
    }
}

fn comment() -> String {
    format!("-m comment --comment {NAME}")
}

impl Rule {
    /// A line of `iptables -S`, if it is a rule of ours.
    pub(super) fn ours(table: &'static str, chain: &'static str, line: &str) -> Option<Self> {
        let text = line.strip_prefix("-A ")?.strip_prefix(chain)?.strip_prefix(' ')?;
        text.contains(&format!(" {} ", comment())).then(|| Self { table, chain, text: text.to_owned() })
    }

    /// Whether it is for a bridge.
    pub(super) fn is_for_bridge(&self) -> bool {
        self.text.contains("-i ")
    }

    /// Puts it before all others.
    pub(super) fn insert(&self) -> Command {
        Command::new("iptables", &format!("-w -t {} -I {} {}", self.table, self.chain, self.text))
    }

    pub(super) fn delete(&self) -> Command {
        Command::new("iptables", &format!("-w -t {} -D {} {}", self.table, self.chain, self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridges(names: &[&str], mode: Mode, to: &str) -> Result<Bridges, BridgeError> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Bridges::new(names, mode, vec![Ipv4Addr::new(169, 254, 169, 254)], to.parse().expect("an address"))
    }

    #[test]
    fn the_address_needs_no_translation_and_the_other_listener_is_shut() {
        let bridges = bridges(&["docker0", "br-*"], Mode::Address, "127.0.0.1:25772").expect("legal");
        let rules: Vec<String> = bridges.commands(Tool::Iptables).iter().map(ToString::to_string).collect();
        assert_eq!(
            rules,
            [
                "iptables -w -t filter -I INPUT -i br-+ -p tcp -m tcp --dport 25772 -m comment --comment alppaca -j DROP",
                "iptables -w -t filter -I INPUT -d 169.254.169.254/32 -i br-+ -p tcp -m tcp --dport 80 -m comment --comment \
                 alppaca -j ACCEPT",
                "iptables -w -t filter -I INPUT -i docker0 -p tcp -m tcp --dport 25772 -m comment --comment alppaca -j DROP",
                "iptables -w -t filter -I INPUT -d 169.254.169.254/32 -i docker0 -p tcp -m tcp --dport 80 -m comment \
                 --comment alppaca -j ACCEPT",
            ]
        );
        let table = bridges.table().to_string();
        assert!(table.contains("iifname \"br-*\" tcp dport 25772 counter drop"), "{table}");
        assert!(!table.contains("dnat"), "{table}");
    }

    #[test]
    fn containers_are_never_redirected_to_loopback() {
        let refused = bridges(&["docker0"], Mode::Dnat, "127.0.0.1:25772").expect_err("refused");
        assert!(refused.to_string().contains("route_localnet"), "{refused}");
        let table = bridges(&["docker0"], Mode::Dnat, "172.17.0.1:25772").expect("legal").table().to_string();
        for part in [
            "iifname \"docker0\" ip daddr { 169.254.169.254 } tcp dport 80 counter dnat to 172.17.0.1:25772",
            "iifname \"docker0\" tcp dport 25772 ct status & dnat == 0 counter drop",
        ] {
            assert!(table.contains(part), "{table}");
        }
    }

    #[test]
    fn a_name_cannot_be_more_than_a_name() {
        for name in ["", "*", "-j", "a b", "a\"; drop", "a*b", "x123456789012345", "docker0 -j"] {
            assert!(matches!(bridges(&[name], Mode::Address, "127.0.0.1:1"), Err(BridgeError::Name(_))), "{name}");
        }
        for name in ALL {
            assert!(bridges(&[name], Mode::Address, "127.0.0.1:1").is_ok(), "{name}");
        }
    }

    #[test]
    fn only_rules_of_ours_are_known_again() {
        let line = "-A INPUT -i docker0 -p tcp -m tcp --dport 25772 -m comment --comment alppaca -j DROP";
        let rule = Rule::ours("filter", "INPUT", line).expect("ours");
        assert_eq!(
            rule.delete().to_string(),
            "iptables -w -t filter -D INPUT -i docker0 -p tcp -m tcp --dport 25772 -m comment --comment alppaca -j DROP"
        );
        for other in [
            "-A INPUT -i docker0 -p tcp -j DROP",
            "-A FORWARD -i docker0 -m comment --comment alppaca -j DROP",
            "-A INPUT -i docker0 -m comment --comment alppaca2 -j DROP",
            "-P INPUT ACCEPT",
        ] {
            assert_eq!(Rule::ours("filter", "INPUT", other), None, "{other}");
        }
    }
}
