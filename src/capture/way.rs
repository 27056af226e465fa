//! Where the packets for an address go: to this host, or away from it, and by which route.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
};

use super::run::{Host, ask};

/// Whether this host does not have the address (any more).
pub fn is_lost(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// Whether no route leads to the address: the kernel looks for one before a firewall can redirect anything.
pub fn is_unroutable(address: Ipv4Addr) -> bool {
    // Nothing is sent.
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).is_ok_and(|socket| socket.connect((address, 80)).is_err())
}

/// Where the packets for an address go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// They stay: this link has the address.
    Here(String),
    /// They leave.
    Out {
        /// The route, as `ip` shows it.
        route: String,
        /// By this link.
        link: String,
        /// What kind of link it is, as the kernel calls it (`tun`, `bridge`); empty for hardware.
        kind: String,
        /// The link that has the address all the same: a routing rule precedes the addresses of this host.
        despite: Option<String>,
    },
}

impl Way {
    /// Where the packets of this process for `address` go; `None` if no route leads there, or `ip` cannot say.
    pub fn to(host: &Host, address: Ipv4Addr) -> Option<Self> {
        let (address, only) = (address.to_string(), format!("{address}/32"));
        let output = |arguments: &[&str]| host.output(&ask("ip", arguments)).ok();
        let route = output(&["route", "get", "fibmatch", &address])?;
        Some(match Self::read(&route)? {
            Self::Out { route, link, .. } => {
                let kind = output(&["-j", "-d", "link", "show", "dev", &link]).and_then(|shown| kind(&shown));
                let listed = output(&["-o", "-4", "address", "show", "to", &only]);
                let despite = listed.and_then(|listed| listed.split_whitespace().nth(1).map(ToOwned::to_owned));
                Self::Out { route, link, kind: kind.unwrap_or_default(), despite }
            }
            here @ Self::Here(_) => here,
        })
    }

    /// Reads a route, without what it does not say.
    fn read(route: &str) -> Option<Self> {
        let words: Vec<&str> = route.split_whitespace().collect();
        let link = words.iter().skip_while(|word| **word != "dev").nth(1).map(|link| (*link).to_owned())?;
        if words.first() == Some(&"local") {
            return Some(Self::Here(link));
        }
        Some(Self::Out { route: words.join(" "), link, kind: String::new(), despite: None })
    }
}

/// The kind of the link that `ip -j -d link show` shows.
fn kind(shown: &str) -> Option<String> {
    let links: serde_json::Value = serde_json::from_str(shown).ok()?;
    links[0]["linkinfo"]["info_kind"].as_str().map(ToOwned::to_owned)
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(link) => write!(f, "{link} has the address"),
            Self::Out { route, link, kind, despite } => {
                let whose = match kind.as_str() {
                    "tun" | "wireguard" | "ppp" | "xfrm" | "vti" => " (a VPN)",
                    "bridge" => " (a bridge, as of Docker)",
                    _ if route.starts_with("169.254.0.0/16 ") => " (a link-local network, as of zeroconf)",
                    _ => "",
                };
                write!(f, "packets leave by {link}{whose}, route `{route}`")?;
                match despite {
                    Some(has) => write!(f, ", although {has} has the address"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read() {
        let local = "local 169.254.169.254 dev alppaca0 table local proto kernel scope host src 169.254.169.254 \n";
        assert_eq!(Way::read(local), Some(Way::Here("alppaca0".to_owned())));
        for (route, said) in [
            (
                "default dev wg0 table 51820 scope link \n",
                "packets leave by wg0, route `default dev wg0 table 51820 scope link`",
            ),
            (
                "169.254.0.0/16 dev wlan0 scope link metric 1000 \n",
                "packets leave by wlan0 (a link-local network, as of zeroconf), route `169.254.0.0/16 dev wlan0 scope link \
                 metric 1000`",
            ),
            (
                "default \n\tnexthop via 192.0.2.1 dev a weight 1 \n\tnexthop via 192.0.2.2 dev b weight 1 \n",
                "packets leave by a, route `default nexthop via 192.0.2.1 dev a weight 1 nexthop via 192.0.2.2 dev b weight 1`",
            ),
        ] {
            assert_eq!(Way::read(route).map(|way| way.to_string()).as_deref(), Some(said));
        }
        for route in ["", "blackhole 169.254.169.254 \n", "default via 192.0.2.1 dev"] {
            assert_eq!(Way::read(route), None, "{route}");
        }
    }

    #[test]
    fn an_address_of_this_host_needs_no_route() {
        assert!(!is_unroutable(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn the_kind_of_a_link_is_read() {
        let shown = r#"[{"ifname":"tun0","linkinfo":{"info_kind":"tun","info_data":{"type":"tun"}}}]"#;
        assert_eq!(kind(shown).as_deref(), Some("tun"));
        for shown in [r#"[{"ifname":"eth0"}]"#, "[]", "", "{}"] {
            assert_eq!(kind(shown), None, "{shown}");
        }
    }
}
