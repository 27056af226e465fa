//! The name service of the host.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo, getnameinfo};

use super::{LookupError, Resolve};

/// `NI_NAMEREQD` of Linux: an address without a name is an error, not a name.
const NAME_REQUIRED: i32 = 8;

/// Names that the host's administrator gives.
const HOSTS: &str = "/etc/hosts";

/// The name service of the host: its files, NSS and DNS.
pub struct System;

impl Resolve for System {
    fn name(&self, address: IpAddr) -> Result<String, LookupError> {
        getnameinfo(&SocketAddr::new(address, 0), NAME_REQUIRED).map(|(name, _service)| name).map_err(failure)
    }

    fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        // With a dot at its end the C library finds no name in that file, and without it also tries the search list.
        let listed = listed(&fs::read(HOSTS).unwrap_or_default(), name);
        if !listed.is_empty() {
            return Ok(listed);
        }
        let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
        let found = getaddrinfo(Some(name), None, Some(hints)).map_err(failure)?;
        found
            .map(|entry| entry.map(|entry| entry.sockaddr.ip()))
            .collect::<Result<_, _>>()
            .map_err(|error| LookupError::Failed(error.to_string()))
    }
}

/// The addresses that a text in the form of hosts(5) has for an absolute name.
fn listed(hosts: &[u8], name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let hosts = String::from_utf8_lossy(hosts);
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse::<IpAddr>().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    hosts.lines().filter_map(address).collect()
}

fn failure(error: dns_lookup::LookupError) -> LookupError {
    match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => LookupError::NotFound,
        _ => LookupError::Failed(std::io::Error::from(error).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_of_the_file_of_hosts_count() {
        let hosts = b"# 192.0.2.9 web1.example.com\n192.0.2.1\tWeb1.Example.com web1 # web2\n\n\
            2001:db8::1 web1.example.com\r\nnonsense web1\n192.0.2.2\n192.0.2.3 \xff web3\nfe80::1%eth0 web4\n";
        let of = |name: &str| listed(hosts, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("web1.example.com."), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(of("web1."), ["192.0.2.1"]);
        assert_eq!(of("web3."), ["192.0.2.3"]);
        for absent in ["web1.example.", "example.com.", "web1.example.com.corp.example.net.", "web2.", "web4.", "."] {
            assert_eq!(of(absent), [""; 0], "{absent}");
        }
    }
}
