//! What `iptables -S` prints, as far as it concerns one captured address. Pure.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use super::{
    foreign::{Check, HTTP, Rule, Ruleset, Target},
    plan::NAME,
};

/// `nat` is the table of that name, `filter` the chain `OUTPUT` of the other, as `program` lists them.
pub(super) fn read(program: &str, nat: &str, filter: &str, address: IpAddr) -> Ruleset {
    let chain = |name: &str| format!("{program} {name}");
    let rules = nat.lines().filter(|line| !is_ours(line)).filter_map(|line| {
        let read = Line::read(line)?;
        let names_address = read.destination.is_some_and(|prefix| prefix.contains(&address));
        let leaves_out = read.destination.is_some_and(|_| !names_address)
            || read.not_destination.is_some_and(|prefix| prefix.contains(&address))
            || read.ports.as_ref().is_some_and(|ports| !ports.iter().any(|range| range.contains(&HTTP)));
        let redirects = read.redirects();
        let jumps = read.target.filter(|_| redirects.is_none()).map(chain).into_iter().collect();
        let text = format!("{program} -t nat {line}");
        (!leaves_out).then(|| Rule { chain: chain(read.chain), text, names_address, redirects, jumps })
    });
    Ruleset {
        entries: vec![chain("OUTPUT")],
        rules: rules.collect(),
        checks: filter.lines().filter_map(Line::read).filter_map(|read| read.check()).collect(),
    }
}

fn is_ours(line: &str) -> bool {
    line.contains(&format!("--comment {NAME} "))
}

/// An address, or a network.
fn prefix(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(IpAddr::into))
}

/// One rule, `-A CHAIN …`.
#[derive(Debug, Default)]
struct Line<'a> {
    chain: &'a str,
    destination: Option<IpNet>,
    not_destination: Option<IpNet>,
    ports: Option<Vec<RangeInclusive<u16>>>,
    of_redirection: bool,
    target: Option<&'a str>,
    to: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words = words(line).into_iter();
        if words.next() != Some("-A") {
            return None;
        }
        let mut read = Self { chain: words.next()?, ..Self::default() };
        let mut negated = false;
        while let Some(word) = words.next() {
            match (word, negated) {
                ("-d", false) => read.destination = prefix(words.next()?),
                ("-d", true) => read.not_destination = prefix(words.next()?),
                ("--dport" | "--dports", false) => read.ports = Some(ranges(words.next()?)),
                ("--ctstate", _) => read.of_redirection = words.next()? == "DNAT",
                ("-j" | "-g", _) => read.target = words.next(),
                ("--to-destination" | "--to-ports", _) => read.to = words.next(),
                ("--comment", _) => {
                    words.next();
                }
                _ => {}
            }
            negated = word == "!";
        }
        Some(read)
    }

    fn redirects(&self) -> Option<Target> {
        let port = match (self.target?, self.to) {
            ("REDIRECT", Some(port)) => Some(port),
            ("DNAT", Some(to)) if to.starts_with('[') => to.rsplit_once("]:").map(|(_, port)| port),
            // An IPv6 address without brackets has no port.
            ("DNAT", Some(to)) if to.matches(':').count() == 1 => to.rsplit_once(':').map(|(_, port)| port),
            ("REDIRECT" | "DNAT", _) => None,
            _ => return None,
        };
        Some(port.map_or(Target::Port(HTTP), |port| port.parse().map_or(Target::Unknown, Target::Port)))
    }

    fn check(&self) -> Option<Check> {
        let port = *self.ports.as_ref()?.first()?.start();
        let refuses = matches!(self.target?, "REJECT" | "DROP");
        Some(Check { port, of_redirection: self.of_redirection, refuses })
    }
}

/// What is between spaces, and between quotation marks.
fn words(line: &str) -> Vec<&str> {
    let quoted = line.split('"').enumerate();
    quoted
        .flat_map(|(index, part)| if index % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
        .collect()
}

/// `80`, `80,443` or `1:1024`.
fn ranges(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |part: &str| {
        let (from, to) = part.split_once(':').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(line: &str, address: &str) -> Option<Target> {
        let rules = read("iptables", line, "", address.parse().expect("legal")).rules;
        rules.iter().find(|rule| rule.names_address).and_then(|rule| rule.redirects)
    }

    #[test]
    fn rules_for_the_address_are_known_in_all_their_forms() {
        let (v4, v6) = ("169.254.169.254", "fd00:ec2::254");
        let to = |port| Some(Target::Port(port));
        for (line, address, expected) in [
            ("-A OUTPUT -d 169.254.169.254/32 -p tcp -j DNAT --to-destination 127.0.0.1:1", v4, to(1)),
            ("-A OUTPUT -d 169.254.0.0/16 -p tcp -j REDIRECT --to-ports 2", v4, to(2)),
            (
                "-A OUTPUT -d 169.254.169.254/32 -p tcp -m multiport --dports 1:90,443 -j REDIRECT --to-ports 2",
                v4,
                to(2),
            ),
            ("-A OUTPUT -d 169.254.169.254/32 -p tcp -j DNAT --to-destination 127.0.0.1", v4, to(80)),
            (
                "-A OUTPUT -d 169.254.169.254/32 -p tcp -j DNAT --to-destination 127.0.0.1:1-9",
                v4,
                Some(Target::Unknown),
            ),
            ("-A OUTPUT -d fd00:ec2::254/128 -p tcp -j DNAT --to-destination [::1]:3", v6, to(3)),
            ("-A OUTPUT -d fd00:ec2::254/128 -p tcp -j DNAT --to-destination ::1", v6, to(80)),
            (
                "-A OUTPUT -d 169.254.169.254/32 -m comment --comment \"x -d 1.2.3.4 y\" -j REDIRECT --to-ports 4",
                v4,
                to(4),
            ),
            ("-A OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 2", v4, None),
            ("-A OUTPUT ! -d 169.254.169.254/32 -p tcp -j REDIRECT --to-ports 2", v4, None),
            ("-A OUTPUT -d 169.254.170.0/24 -p tcp -j REDIRECT --to-ports 2", v4, None),
            ("-A OUTPUT -d 169.254.169.254/32 -j ACCEPT", v4, None),
            ("-A OUTPUT -d 169.254.169.254/32 -m comment --comment alppaca -j REDIRECT --to-ports 2", v4, None),
            ("-P OUTPUT ACCEPT", v4, None),
        ] {
            assert_eq!(redirected(line, address), expected, "{line}");
        }
    }

    #[test]
    fn a_jump_and_a_check_are_read() {
        let filter = "-A OUTPUT -d 127.0.0.1/32 -p tcp -m tcp --dport 5 -m conntrack ! --ctstate DNAT -j REJECT";
        let read = read("iptables", "-A OUTPUT -p tcp -j MINE", filter, "169.254.169.254".parse().expect("legal"));
        assert_eq!(read.rules[0].jumps, ["iptables MINE"]);
        assert!(matches!(read.checks[..], [Check { port: 5, of_redirection: true, refuses: true }]));
    }
}
