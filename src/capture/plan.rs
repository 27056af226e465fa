//! The commands that capture the address, and those that undo it. Pure.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use super::bridges::Rule;

/// How the address is made to reach us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// The address on a local link, the daemon bound to its port 80. Nothing is rewritten.
    Address,
    /// Connections are redirected to a port of the daemon's to which nothing else can connect.
    Dnat,
}

/// What a redirection is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Tool {
    /// A table of our own, replaced in one transaction.
    Nft,
    /// One rule in the nat table, and one in the filter table.
    Iptables,
}

impl std::fmt::Display for Tool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Nft => "nftables",
            Self::Iptables => "iptables",
        })
    }
}

/// What is to be captured, and where to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How.
    pub mode: Mode,
    /// With what.
    pub tool: Tool,
    /// The address that programs use.
    pub address: Ipv4Addr,
    /// Further addresses for the same link (`--mode address`).
    pub also: Vec<Ipv4Addr>,
    /// Where the daemon listens, for a redirection.
    pub to: SocketAddrV4,
    /// The link that gets the address. Ours, unless it is `lo`.
    pub link: String,
}

/// What programs ask: EC2's IMDS.
pub const IMDS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// What is wrong with a redirection to a port to which others can connect as well, and what to do.
pub const WEAK_REDIRECTION: &str = "it lets other connections reach the daemon's port, so that users can make the \
                                    firewall change the source ports of others, whose requests are then refused (503); `alppaca capture \
                                    apply --mode dnat`, or --mode address, has no such weakness";

impl Mode {
    /// Where the daemon listens by default: for connections that are redirected at a port of its own, to which nothing else
    /// can connect.
    pub fn default_target(self) -> SocketAddrV4 {
        let port = match self {
            Self::Address => 25_772,
            Self::Dnat => 25_774,
        };
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }
}

/// What to do where the address is not captured, or not any more.
pub const REPAIR: &str =
    "`sudo alppaca capture apply`, or `sudo systemctl restart alppaca-capture` where that unit captures it";

/// What to do where a routing rule precedes the addresses of this host.
pub const RULE_ORDER: &str = "`ip rule` shows the rule; the addresses of this host have to come before it: \
                              `sudo ip rule add pref 0 lookup local`";

/// The name of our link and table, and the comment on our rule.
pub(super) const NAME: &str = "alppaca";
/// The link that is used where the kernel has no dummy links.
pub(super) const LOOPBACK: &str = "lo";

/// The chains of iptables that have rules of ours for the processes of this host.
pub(super) const OWN_CHAINS: [(&str, &str); 2] = [("nat", "OUTPUT"), ("filter", "OUTPUT")];

/// One command, with its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it reads.
    pub input: Option<String>,
}

impl Command {
    pub(super) fn new(program: &'static str, arguments: &str) -> Self {
        Self { program, arguments: arguments.split_whitespace().map(str::to_owned).collect(), input: None }
    }

    pub(super) fn with_input(program: &'static str, arguments: &str, input: String) -> Self {
        Self { input: Some(input), ..Self::new(program, arguments) }
    }
}

impl fmt::Display for Command {
    /// As one would type it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program)?;
        for argument in &self.arguments {
            write!(f, " {argument}")?;
        }
        match &self.input {
            Some(input) => write!(f, " <<'END'\n{input}END"),
            None => Ok(()),
        }
    }
}

impl Settings {
    /// What captures the address.
    pub fn apply(&self) -> Vec<Command> {
        match (self.mode, self.tool) {
            (Mode::Address, _) => {
                let mut commands = Vec::new();
                if self.link != LOOPBACK {
                    commands.push(Command::new("ip", &format!("link add {} type dummy", self.link)));
                    commands.push(Command::new("ip", &format!("link set {} up", self.link)));
                }
                // Of scope link: it is never chosen as the source of other connections.
                commands.extend(self.addresses().map(|address| {
                    Command::new("ip", &format!("address replace {address}/32 dev {} scope link", self.link))
                }));
                commands
            }
            (Mode::Dnat, Tool::Iptables) => self.rules().iter().map(Rule::insert).collect(),
            (Mode::Dnat, Tool::Nft) => {
                let (address, to, ip, port) = (self.address, self.to, self.to.ip(), self.to.port());
                // Declared first so that deleting it cannot fail: one transaction, whatever was there.
                let input = format!(
                    "table ip {NAME}\ndelete table ip {NAME}\ntable ip {NAME} {{\n\
                     \tchain direct {{\n\
                     \t\ttype filter hook output priority 0; policy accept;\n\
                     \t\tip daddr {ip} tcp dport {port} ct status dnat accept\n\
                     \t\tip daddr {ip} tcp dport {port} counter reject with tcp reset\n\t}}\n\
                     \tchain output {{\n\
                     \t\ttype nat hook output priority -100; policy accept;\n\
                     \t\tip daddr {address} tcp dport 80 fib saddr type local counter dnat to {to}\n\t}}\n}}\n"
                );
                vec![Command::with_input("nft", "-f -", input)]
            }
        }
    }

    /// All addresses that are captured.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        std::iter::once(self.address).chain(self.also.iter().copied())
    }

    /// What undoes it.
    pub fn remove(&self) -> Vec<Command> {
        match (self.mode, self.tool) {
            (Mode::Address, _) if self.link == LOOPBACK => {
                let delete = |address| Command::new("ip", &format!("address delete {address}/32 dev {LOOPBACK}"));
                self.addresses().map(delete).collect()
            }
            (Mode::Address, _) => vec![Command::new("ip", &format!("link delete {}", self.link))],
            (Mode::Dnat, Tool::Iptables) => self.rules().iter().rev().map(Rule::delete).collect(),
            (Mode::Dnat, Tool::Nft) => {
                let input = format!("table ip {NAME}\ndelete table ip {NAME}\n");
                vec![Command::with_input("nft", "-f -", input)]
            }
        }
    }

    /// The rules of iptables, marked as ours. The first lets only redirected connections leave for the port: a direct one
    /// could have the same addresses and ports as a redirected one, which the kernel would then give another source port.
    /// A rule in `INPUT` would be too late: connection tracking remembers for ten seconds what is refused there.
    /// The second is that of the 2015 tool's README, for port 80 only.
    pub(super) fn rules(&self) -> [Rule; 2] {
        let (address, to, ip, port) = (self.address, self.to, self.to.ip(), self.to.port());
        let rule = |table, chain, text| Rule { table, chain, text };
        [
            rule(
                "filter",
                "OUTPUT",
                format!(
                    "-d {ip}/32 -p tcp -m tcp --dport {port} -m conntrack ! --ctstate DNAT -m comment --comment {NAME} \
                     -j REJECT --reject-with tcp-reset"
                ),
            ),
            rule(
                "nat",
                "OUTPUT",
                format!(
                    "-d {address}/32 -p tcp -m tcp --dport 80 -m addrtype --src-type LOCAL -m comment --comment {NAME} \
                     -j DNAT --to-destination {to}"
                ),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mode: Mode, tool: Tool, link: &str) -> Settings {
        let address = Ipv4Addr::new(169, 254, 169, 254);
        Settings {
            mode,
            tool,
            address,
            to: "127.0.0.1:25774".parse().expect("legal"),
            link: link.to_owned(),
            also: vec![],
        }
    }

    fn text(commands: &[Command]) -> String {
        commands.iter().flat_map(|command| [command.to_string(), "\n".to_owned()]).collect()
    }

    #[test]
    fn an_address_goes_on_a_link_of_its_own() {
        let settings = settings(Mode::Address, Tool::Nft, "alppaca0");
        assert_eq!(
            text(&settings.apply()),
            "ip link add alppaca0 type dummy\nip link set alppaca0 up\n\
             ip address replace 169.254.169.254/32 dev alppaca0 scope link\n"
        );
        assert_eq!(text(&settings.remove()), "ip link delete alppaca0\n");
    }

    #[test]
    fn on_lo_only_the_address_comes_and_goes() {
        let settings = settings(Mode::Address, Tool::Nft, "lo");
        assert_eq!(text(&settings.apply()), "ip address replace 169.254.169.254/32 dev lo scope link\n");
        assert_eq!(text(&settings.remove()), "ip address delete 169.254.169.254/32 dev lo\n");
    }

    #[test]
    fn the_rule_is_that_of_the_old_readme_for_port_80_and_nothing_else_reaches_its_target() {
        assert_eq!(
            text(&settings(Mode::Dnat, Tool::Iptables, "lo").apply()),
            "iptables -w -t filter -I OUTPUT -d 127.0.0.1/32 -p tcp -m tcp --dport 25774 -m conntrack ! --ctstate DNAT \
             -m comment --comment alppaca -j REJECT --reject-with tcp-reset\n\
             iptables -w -t nat -I OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m addrtype --src-type LOCAL \
             -m comment --comment alppaca -j DNAT --to-destination 127.0.0.1:25774\n"
        );
    }

    #[test]
    fn the_table_is_replaced_in_one_transaction() {
        let commands = settings(Mode::Dnat, Tool::Nft, "lo").apply();
        assert_eq!(commands.len(), 1);
        let input = commands[0].input.as_deref().expect("a script");
        assert!(input.starts_with("table ip alppaca\ndelete table ip alppaca\ntable ip alppaca {"), "{input}");
        let only_redirected = "hook output priority 0; policy accept;\n\
                               \t\tip daddr 127.0.0.1 tcp dport 25774 ct status dnat accept\n\
                               \t\tip daddr 127.0.0.1 tcp dport 25774 counter reject with tcp reset\n";
        assert!(input.contains(only_redirected), "{input}");
    }
}
