//! Redirections of the captured addresses that were made by hand, in nftables or iptables.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    iptables, nftables,
    plan::{Command, IMDS},
    run::Host,
};

/// EC2's second address of the IMDS.
const IMDS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// The port that programs ask.
pub(super) const HTTP: u16 = 80;

/// A rule that redirects an address of the IMDS and is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirection {
    /// As its tool shows it.
    pub rule: String,
    /// Where it leads, unless the rule does not show it.
    port: Option<u16>,
    /// Whether the firewall refuses connections to that port that were not redirected.
    guarded: bool,
}

impl Redirection {
    /// Whether it leads to one of these ports of the daemon, to which other connections come as well.
    pub fn is_weak(&self, ports: &[u16]) -> bool {
        !self.guarded && self.port.is_none_or(|port| ports.contains(&port))
    }
}

/// Which rules of a firewall matter to the connections that this host's processes make to port 80 of one address.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    /// The chains where such a connection is redirected.
    pub(super) entries: Vec<String>,
    /// The rules that it can meet.
    pub(super) rules: Vec<Rule>,
    /// What is asked of connections to other ports.
    pub(super) checks: Vec<Check>,
}

/// A rule that can apply to the connection.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) chain: String,
    pub(super) text: String,
    /// Whether it names the address, and does not just leave it in.
    pub(super) names_address: bool,
    pub(super) redirects: Option<Target>,
    /// The chains that come next.
    pub(super) jumps: Vec<String>,
}

/// Where a rule redirects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Port(u16),
    /// The tool does not show it.
    Unknown,
}

/// A rule for the connections to a port that this host's processes make.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) port: u16,
    /// Whether it distinguishes those that were redirected.
    pub(super) of_redirection: bool,
    /// Whether it lets none through.
    pub(super) refuses: bool,
}

impl Ruleset {
    fn add(&mut self, mut other: Self) {
        self.entries.append(&mut other.entries);
        self.rules.append(&mut other.rules);
        self.checks.append(&mut other.checks);
    }

    /// The rules that redirect the address, and where to.
    fn redirections(&self) -> Vec<Redirection> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut ahead: Vec<(&str, bool)> = self.entries.iter().map(|chain| (chain.as_str(), false)).collect();
        while let Some((chain, named)) = ahead.pop() {
            if !seen.insert((chain, named)) {
                continue;
            }
            for rule in self.rules.iter().filter(|rule| rule.chain == chain) {
                let named = named || rule.names_address;
                ahead.extend(rule.jumps.iter().map(|chain| (chain.as_str(), named)));
                if let Some(target) = rule.redirects.filter(|_| named) {
                    found.push(self.redirection(rule, target));
                }
            }
        }
        found
    }

    fn redirection(&self, rule: &Rule, target: Target) -> Redirection {
        let port = match target {
            Target::Port(port) => Some(port),
            Target::Unknown => None,
        };
        let has = |of: fn(&Check) -> bool| self.checks.iter().any(|check| Some(check.port) == port && of(check));
        let guarded = has(|check| check.of_redirection) && has(|check| check.refuses);
        Redirection { rule: rule.text.clone(), port, guarded }
    }
}

/// The rules that redirect `address` and are not ours, and for EC2's address its IPv6 twin as well, as far as they can be read
/// (by root).
pub fn foreign_redirections(host: &Host, address: Ipv4Addr) -> Vec<Redirection> {
    let twin = (address == IMDS).then_some(IpAddr::V6(IMDS_V6));
    let listing = host.output(&Command::new("nft", "-j -s list ruleset")).ok();
    let mut found = Vec::new();
    for address in [IpAddr::V4(address)].into_iter().chain(twin) {
        let mut rules = Ruleset::default();
        let program = if address.is_ipv4() { "iptables" } else { "ip6tables" };
        let list = |of: &str| host.output(&Command::new(program, &format!("-w {of}"))).ok();
        let tables = list("-t nat -S").zip(list("-t filter -S OUTPUT"));
        if let Some((nat, filter)) = &tables {
            rules.add(iptables::read(program, nat, filter, address));
        }
        if let Some(listing) = &listing {
            rules.add(nftables::read(listing, address, tables.is_some()));
        }
        found.extend(rules.redirections());
    }
    for redirection in &mut found {
        describe(host, redirection);
    }
    found.sort_by(|one, other| one.rule.cmp(&other.rule));
    found.dedup();
    found
}

/// The JSON of nftables has no text for people: puts it after the place of the rule.
fn describe(host: &Host, redirection: &mut Redirection) {
    let words: Vec<&str> = redirection.rule.split(' ').collect();
    let ["nft", "rule", family, table, chain, "handle", handle] = words[..] else { return };
    let Ok(listed) = host.output(&Command::new("nft", &format!("-a -s list chain {family} {table} {chain}"))) else {
        return;
    };
    let end = format!(" # handle {handle}");
    if let Some(text) = listed.lines().find_map(|line| line.strip_suffix(&end)) {
        redirection.rule = format!("{}: {}", redirection.rule, text.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(chain: &str, names_address: bool, redirects: Option<u16>, jumps: &[&str]) -> Rule {
        let jumps = jumps.iter().map(|&chain| chain.to_owned()).collect();
        let redirects = redirects.map(Target::Port);
        Rule { chain: chain.to_owned(), text: format!("in {chain}"), names_address, redirects, jumps }
    }

    fn found(rules: Vec<Rule>, checks: Vec<Check>) -> Vec<Redirection> {
        Ruleset { entries: vec!["output".to_owned()], rules, checks }.redirections()
    }

    #[test]
    fn a_redirection_is_found_behind_a_jump_that_names_the_address() {
        let behind =
            |names| found(vec![rule("output", names, None, &["x"]), rule("x", false, Some(1), &["x"])], vec![]);
        assert_eq!(behind(true), [Redirection { rule: "in x".to_owned(), port: Some(1), guarded: false }]);
        assert_eq!(behind(false), []);
        assert_eq!(found(vec![rule("prerouting", true, Some(1), &[])], vec![]), []);
    }

    #[test]
    fn a_port_is_guarded_where_only_redirected_connections_get() {
        let check = |port, of_redirection, refuses| Check { port, of_redirection, refuses };
        for (checks, guarded) in [
            (vec![check(1, true, true)], true),
            (vec![check(1, true, false), check(1, false, true)], true),
            (vec![check(1, true, false), check(2, false, true)], false),
            (vec![check(1, false, true)], false),
        ] {
            let all = found(vec![rule("output", true, Some(1), &[])], checks);
            assert_eq!(all[0].is_weak(&[1]), !guarded, "{all:?}");
            assert!(!all[0].is_weak(&[2]), "{all:?}");
        }
    }
}
