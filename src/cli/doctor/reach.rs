//! Why an endpoint cannot be reached, and what to do.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
};

use super::{
    finding::Finding,
    ports::listening,
    rules::{parts, shown},
};
use crate::{
    admin::Status,
    capture::{IMDS, Mode, REPAIR, RULE_ORDER, Way, is_lost},
    cli::{environment, human},
};

/// Where this host's packets for an endpoint go, if it is one of those that can be captured.
pub(super) fn way(url: &str) -> Option<Way> {
    Way::to(&environment::host(), capturable(url)?)
}

/// The way as the end of a sentence.
pub(super) fn suffix(way: Option<&Way>) -> String {
    way.map(|way| format!("; {way}")).unwrap_or_default()
}

fn capturable(url: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = parts(url)?.1.parse().ok()?;
    (!address.is_loopback()).then_some(address)
}

/// The finding that `url` cannot be reached.
pub(super) fn unreachable(url: &str, error: &io::Error, daemon: Option<&Status>) -> Finding {
    // A packet that was refused may have been redirected after it was routed.
    let refused = error.kind() == io::ErrorKind::ConnectionRefused;
    let way = way(url).filter(|way| !refused || !matches!(way, Way::Out { despite: None, .. }));
    let what = match error.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "no route leads there".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
        // What `connect` says of routes of the kinds blackhole and prohibit.
        io::ErrorKind::InvalidInput => "a blackhole route of this host drops it".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "a route of this host, or a sandbox around this program, forbids it".to_owned()
        }
        _ => human::foreign(&error.to_string()),
    };
    let message = format!("{} cannot be reached: {what}{}", shown(url), suffix(way.as_ref()));
    if matches!(way, Some(Way::Out { despite: Some(_), .. })) {
        return Finding::problem("reach", message, RULE_ORDER);
    }
    let listens = |asked: &Ipv4Addr| {
        let asked = IpAddr::V4(*asked);
        daemon.is_some_and(|status| listening(status).any(|address| address.ip() == asked && address.port() == 80))
    };
    match capturable(url).filter(listens) {
        Some(asked) if is_lost(asked.into()) => {
            let message = format!("{message}; the daemon listens there, but this host has lost the address");
            Finding::problem("reach", message, REPAIR)
        }
        Some(_) => {
            let remedy =
                "the daemon listens there, so a firewall of this host is in between: `sudo nft list ruleset` shows it";
            Finding::problem("reach", message, remedy)
        }
        None => Finding::problem("reach", message, remedy(error, daemon, way.as_ref())),
    }
}

/// How the address is made to lead to the daemon, by where that listens. `routed`: whether there is a route to the address,
/// without which nothing is redirected.
pub(super) fn capture(daemon: Option<&Status>, routed: bool) -> &'static str {
    let listens = |at: SocketAddrV4| {
        let at = at.to_string();
        daemon.is_some_and(|status| status.listeners.iter().any(|one| one.face == "imds" && one.address == at))
    };
    if listens(SocketAddrV4::new(IMDS, 80)) {
        "`sudo alppaca capture apply`"
    } else if routed && listens(Mode::Dnat.default_target()) {
        "`sudo alppaca capture apply --mode dnat`"
    } else if routed && daemon.is_none() {
        "`sudo alppaca capture apply --mode dnat` (without `--mode dnat` if its `listen` has 169.254.169.254:80)"
    } else {
        "`listen: ['169.254.169.254:80']` in its configuration, then `sudo alppaca capture apply` and a restart of \
         alppaca"
    }
}

/// What to do where the daemon does not listen at the address, or does not run.
fn remedy(error: &io::Error, daemon: Option<&Status>, way: Option<&Way>) -> String {
    let imds = daemon.and_then(|status| status.listeners.iter().find(|listener| listener.face == "imds"));
    let no_route = matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable);
    let capture = capture(daemon, !no_route || way.is_some());
    match (imds, error.kind()) {
        (_, io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied) => {
            format!("`ip route get` with the address shows the route; remove it, then {capture}")
        }
        (Some(listener), _) => format!(
            "the daemon answers at {0}: {capture} makes programs reach it, or for this shell export \
             AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{0}/",
            listener.address
        ),
        (None, io::ErrorKind::ConnectionRefused) => {
            "start the daemon; `systemctl status alppaca` may show why it stopped".to_owned()
        }
        (None, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => format!(
            "nothing answers, or a firewall drops it: start the daemon and {capture}; in a container, see `alppaca capture \
             --help` (on EC2 a hop limit of 1 looks the same)"
        ),
        (None, _) => format!("start the daemon, and {capture} so that the address leads to it"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_way_to_capture_follows_from_where_the_daemon_listens_and_from_the_route() {
        let status = |addresses: &[&str]| -> Status {
            let listeners: Vec<_> = addresses.iter().map(|at| json!({"face": "imds", "address": at})).collect();
            let status = json!({
                "version": "0", "pid": 1, "started": "", "uptime_seconds": 0, "answered": true, "listeners": listeners,
                "roles": [],
            });
            serde_json::from_value(status).expect("a status")
        };
        let usual = ["127.0.0.1:25772", "127.0.0.1:25774"];
        let (address, dnat) = ("`sudo alppaca capture apply`", "`sudo alppaca capture apply --mode dnat`");
        let listen = "`listen: ['169.254.169.254:80']` in its configuration, then `sudo alppaca capture apply`";
        for (daemon, routed, told) in [
            (Some(status(&usual)), true, dnat),
            (Some(status(&usual)), false, listen),
            (Some(status(&usual[..1])), true, listen),
            (Some(status(&["169.254.169.254:80"])), true, address),
            (Some(status(&["169.254.169.254:80"])), false, address),
            (None, true, dnat),
            (None, false, listen),
        ] {
            let said = capture(daemon.as_ref(), routed);
            assert!(said.starts_with(told), "{routed}, {daemon:?}: {said}");
        }
    }
}
