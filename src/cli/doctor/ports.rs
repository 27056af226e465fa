//! Whether another user could listen in the daemon's place while it is down, and whether others reach its page.

use std::net::SocketAddr;

use super::{Finding, rules::Endpoint};
use crate::{admin::Status, caller::Listening, capture::Mode, host};

/// Where the daemon says that it listens.
pub(super) fn listening(status: &Status) -> impl Iterator<Item = SocketAddr> {
    status.listeners.iter().filter_map(|one| one.address.parse().ok())
}

/// Those that a socket unit can keep: the port for programs of `exec` is the daemon's own.
fn keepable(status: &Status) -> impl Iterator<Item = SocketAddr> {
    let others = status.listeners.iter().filter(|one| one.face != "exec");
    others.filter_map(|one| one.address.parse().ok())
}

/// Judges where the daemon says that it listens, and the endpoint that SDKs ask.
pub(super) fn judge(daemon: Option<&Status>, endpoint: Option<&Endpoint>, findings: &mut Vec<Finding>) {
    let lowest = host::unprivileged_ports();
    let mut addresses: Vec<SocketAddr> = daemon.into_iter().flat_map(keepable).collect();
    addresses.extend(endpoint.and_then(asked).filter(|asked| asked.port() == 80));
    let own = rustix::process::geteuid().as_raw();
    let mut privileged = false;
    for address in addresses {
        if address.port() < lowest {
            continue;
        }
        if address.port() < 1024 {
            privileged = true;
        } else if let Ok(Some(listening)) = Listening::at(address)
            && let Some(keeper) = mortal_keeper(&listening, own)
        {
            findings.push(Finding::note(
                "port",
                format!("only {keeper} keeps other users from {address}: while it is down, they can listen there"),
                keeping(address),
            ));
        }
    }
    if privileged {
        findings.push(Finding::note(
            "port",
            format!(
                "every user may listen on ports from {lowest} up (net.ipv4.ip_unprivileged_port_start), so also on \
                 the daemon's while it is down"
            ),
            "sudo sysctl net.ipv4.ip_unprivileged_port_start=1024, and in /etc/sysctl.d",
        ));
    }
}

/// How systemd keeps the port. It starts no socket unit whose service runs: restarted together, the service is stopped first.
fn keeping(address: SocketAddr) -> String {
    let enable = "sudo systemctl enable alppaca.socket, and sudo systemctl restart alppaca.socket alppaca";
    if [Mode::Address, Mode::Dnat].iter().any(|mode| SocketAddr::from(mode.default_target()) == address) {
        return enable.to_owned();
    }
    format!("add `[Socket]` and `ListenStream={address}` by `sudo systemctl edit alppaca.socket`, then {enable}")
}

/// What keeps the port only while it runs; `None` of what systemd has, or may have, and of who asks.
fn mortal_keeper(listening: &Listening, own: u32) -> Option<String> {
    match listening {
        Listening { uid: 0, process } if listening.is_of_systemd() == Some(false) => {
            let process = process.as_ref().map_or_else(|| "a process of root's".to_owned(), ToString::to_string);
            Some(format!("{process}, and not systemd,"))
        }
        Listening { uid, .. } => (*uid != 0 && *uid != own).then(|| "the daemon".to_owned()),
    }
}

/// Judges where the status page is.
pub(super) fn judge_page(daemon: Option<&Status>, findings: &mut Vec<Finding>) {
    let places = daemon.into_iter().flat_map(|status| &status.status_page);
    findings.extend(places.filter(|place| is_open(place)).map(|place| {
        let message = format!("the status page is open to other hosts: {place}");
        Finding::note("status_page", message, "`status_page: {listen: 127.0.0.1:9311}`, and restart alppaca")
    }));
}

fn is_open(place: &str) -> bool {
    let address = place.strip_prefix("http://").and_then(|rest| rest.trim_end_matches('/').parse::<SocketAddr>().ok());
    address.is_some_and(|address| !address.ip().to_canonical().is_loopback())
}

/// The address of an endpoint whose host is a number.
fn asked(endpoint: &Endpoint) -> Option<SocketAddr> {
    let (Endpoint::Imds(url) | Endpoint::Container(url)) = endpoint;
    let uri: http::Uri = url.parse().ok()?;
    let ip = uri.host()?.trim_matches(['[', ']']).parse().ok()?;
    let port = uri.port_u16().or_else(|| (uri.scheme_str() == Some("http")).then_some(80))?;
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_an_endpoint_is_read_from_its_url() {
        let address = |url: &str| asked(&Endpoint::Imds(url.to_owned())).map(|address| address.to_string());
        assert_eq!(address("http://169.254.169.254").as_deref(), Some("169.254.169.254:80"));
        assert_eq!(address("http://[fd00:ec2::254]").as_deref(), Some("[fd00:ec2::254]:80"));
        assert_eq!(address("http://127.0.0.1:25772/").as_deref(), Some("127.0.0.1:25772"));
        assert_eq!(address("http://localhost:25772"), None);
        assert_eq!(address("https://127.0.0.1"), None);
    }

    #[test]
    fn an_address_that_the_shipped_socket_unit_lacks_is_added_first() {
        let unit = include_str!("../../../packaging/systemd/alppaca.socket");
        for line in unit.lines().filter(|line| line.starts_with("ListenStream=")) {
            let address = line.trim_start_matches("ListenStream=").parse().expect("an address");
            assert!(keeping(address).starts_with("sudo systemctl enable alppaca.socket"), "{line}");
        }
        for other in ["127.0.0.1:43100", "[::1]:25772", "172.17.0.1:25772"] {
            let said = keeping(other.parse().expect("an address"));
            let first =
                format!("add `[Socket]` and `ListenStream={other}` by `sudo systemctl edit alppaca.socket`, then ");
            assert!(said.starts_with(&first) && said.ends_with(" restart alppaca.socket alppaca"), "{said}");
        }
    }

    #[test]
    fn a_page_for_this_host_is_no_finding() {
        for place in ["http://127.0.0.1:9311/", "http://[::1]:9311/", "unix:/run/alppaca/page.sock"] {
            assert!(!is_open(place), "{place}");
        }
        assert!(is_open("http://0.0.0.0:9311/") && is_open("http://[2001:db8::1]:9311/"));
    }
}
